"""Transforms that proposals cannot follow."""

import numpy as np
import pytest
from torchvision.transforms import v2

from lit_detseg.data.loading.batches import BatchReader
from lit_detseg.data.loading.sample_checks import check_followed, check_keeps_proposals
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.transforms import (
    CopyPaste,
    LargeScaleJitter,
    Mosaic,
    RandomHorizontalFlip,
    TorchvisionTransform,
)
from lit_detseg.data.transforms.base import move
from lit_detseg.structures import UserError
from tests.data.proposals.sets import reader_of, write_numbered_proposals
from tests.data.transforms.drawn import Shape, draw

LOSING = [Mosaic(32, 32), CopyPaste(), TorchvisionTransform(v2.RandomHorizontalFlip())]


@pytest.mark.parametrize("transform", LOSING, ids=lambda one: type(one).__name__)
def test_what_loses_the_image_s_place_is_named(tmp_path, transform):
    name = type(transform).__name__
    wrong = rf"cannot follow an image through {name}.*`data.proposals` to null"
    with pytest.raises(UserError, match=wrong):
        check_keeps_proposals([RandomHorizontalFlip(), transform])
    reader = reader_of(write_numbered_proposals(tmp_path / "set", [1]))
    with pytest.raises(UserError, match=wrong):
        BatchReader(reader, [transform], proposals=ProposalReader(reader, "numbered"))
    BatchReader(reader, [transform])  # without proposals it may


def test_what_moves_the_whole_image_is_no_trouble():
    check_keeps_proposals([RandomHorizontalFlip(), LargeScaleJitter(32, 32)])


def test_objects_that_went_their_own_way_give_an_image_away():
    sample = draw(30, 40, [Shape("rectangle", (2, 2, 12, 12)), Shape("rectangle", (20, 2, 30, 12))])
    moved = move(sample, np.zeros((60, 40, 3), np.uint8), scale=(1, 2), offset=(3, 0))
    check_followed(moved, "a")
    apart = moved._replace(placements=moved.placements + [[0, 0, 0, 0], [0, 0, 5, 0]])
    with pytest.raises(UserError, match="Image a: a transform moves some objects otherwise"):
        check_followed(apart, "a")
    check_followed(apart.only(np.array([False, False])), "a")
