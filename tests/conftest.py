"""What all tests share: where the repository and the shared data are, random boxes, shards."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.shapes import ShapesReader

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("LIT_DETSEG_SHARED", REPOSITORY.parent / "shared")).resolve()

# Files that need the shared data are collected only where it exists.
collect_ignore_glob = [] if (SHARED / "data").is_dir() else ["*/test_*_shared.py"]

# Shared machines stall: no example fails for being slow. In CI every run tries the same examples.
settings.register_profile("lit_detseg", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("lit_detseg")


@pytest.fixture
def random_boxes():
    """A function that draws `n` valid XYXY boxes inside a 100 x 100 image."""
    generator = torch.Generator().manual_seed(0)

    def draw(n: int) -> torch.Tensor:
        corner = torch.rand(n, 2, generator=generator) * 80
        size = torch.rand(n, 2, generator=generator) * 18 + 2
        return torch.cat([corner, corner + size], dim=1)

    return draw


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """22 training and 9 validation images of 64 pixels: five steps of four images an epoch."""
    folder = tmp_path_factory.mktemp("shards")
    pack(ShapesReader(images=22, seed=0, size=64), folder / "train", samples_per_shard=5)
    pack(ShapesReader(images=9, seed=1, size=64), folder / "val", samples_per_shard=5)
    return folder
