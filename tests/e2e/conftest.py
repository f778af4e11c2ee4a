"""Small shard sets for tests of whole journeys."""

import pytest

from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.shapes import ShapesReader


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """22 training and 9 validation images of 64 pixels: five steps of four images an epoch."""
    folder = tmp_path_factory.mktemp("shards")
    pack(ShapesReader(images=22, seed=0, size=64), folder / "train", samples_per_shard=5)
    pack(ShapesReader(images=9, seed=1, size=64), folder / "val", samples_per_shard=5)
    return folder
