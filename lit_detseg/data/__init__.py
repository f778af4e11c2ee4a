"""Raw data sets to shards, shards to batches.

A name is looked up when it is first used: who only packs, verifies or fetches shards waits for
neither torch nor Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = "shard_module" if name == "ShardDataModule" else "modules"
    return getattr(import_module(f"{__name__}.{file}"), name)
