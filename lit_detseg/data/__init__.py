"""Raw data sets to shards, shards to batches."""

from lit_detseg.data.modules import (
    CityscapesDataModule,
    CocoDataModule,
    ShapesDataModule,
    VOCDataModule,
)
from lit_detseg.data.shard_module import ShardDataModule

__all__ = [
    "CityscapesDataModule",
    "CocoDataModule",
    "ShapesDataModule",
    "ShardDataModule",
    "VOCDataModule",
]
