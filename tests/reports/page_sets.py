"""Small shard sets with known objects, and their pages."""

from pathlib import Path

import numpy as np

from lit_detseg.data import ShardDataModule
from lit_detseg.data.records import Object
from lit_detseg.data.remote.indexes import read_index
from lit_detseg.data.shards import ShardReader
from lit_detseg.reports.dataset_page import (
    PageOptions,
    StoredSet,
    Training,
    write_dataset_page,
)
from lit_detseg.reports.training_views import TrainingViews
from lit_detseg.structures import LabelMap
from tests.data.shard_sets import raw_sample, write_shards

CAT, DOG, SCRIPT = range(3)
HOSTILE = "<script>window.hacked = 1</script>"
LABELS = LabelMap(("cat", "dög 犬", HOSTILE))
GREY = 128
SIZE = (200, 300)  # height, width


def item(label: int, left: int, top: int, side: int, **more) -> Object:
    """A square object with a square polygon, unless another mask is given."""
    right, bottom = left + side, top + side
    more.setdefault("mask", [[left, top, right, top, right, bottom, left, bottom]])
    return Object((left, top, right, bottom), label, float(side**2), source_id=7, **more)


# Small: below 32 pixels; large: from 96.
IMAGES = {
    "a": [item(CAT, 20, 40, 20), item(DOG, 150, 50, 100)],
    "b two": [item(CAT, 20, 40, 100), item(DOG, 150, 50, 20, is_difficult=True)],
    "c": [item(DOG, 20, 40, 60), item(DOG, 150, 50, 40, is_crowd=True)],
    "d <i>": [item(SCRIPT, 20, 40, 50, is_truncated=True, mask=None)],
    "e": [],
}


def write_known(folder: Path) -> Path:
    """The images above, grey, packed as the set `folder`."""
    pixels = np.full((*SIZE, 3), GREY, np.uint8)
    samples = [raw_sample(key, pixels, objects) for key, objects in IMAGES.items()]
    return write_shards(folder, samples, label_map=LABELS)


def write_page(shards: Path, out: Path, transforms=(), options=PageOptions(), **settings) -> Path:  # noqa: B008
    """The page of a set, trained on with some transforms."""
    module = ShardDataModule(
        str(shards),
        num_workers=0,
        train_transforms=list(transforms),
        **{"total_batch_size": 1, "masks": True, **settings},
    )
    loader = module.train_dataloader()
    training = Training("a test", TrainingViews(loader.batches, loader.order))
    sets = [StoredSet(str(shards), *read_index(shards))]
    write_dataset_page(out, ShardReader(shards), sets, training, "<b>command</b>", options)
    return out
