"""Raw data sets to shards, shards to batches."""

from lit_detseg.data.modules import (
    CocoDataModule,
    ShapesDataModule,
    ShardDataModule,
    VOCDataModule,
)

__all__ = ["CocoDataModule", "ShapesDataModule", "ShardDataModule", "VOCDataModule"]
