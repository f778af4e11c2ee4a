"""torchvision's transforms among ours."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from lit_detseg.data.records import Object
from lit_detseg.data.transforms import (
    RandomHorizontalFlip,
    Resize,
    Sample,
    TorchvisionTransform,
    apply,
    cut_to_visible,
)
from lit_detseg.data.transforms.base import move
from lit_detseg.structures import UserError
from tests.data.transforms.drawn import (
    Shape,
    check_agreement,
    check_content,
    check_whole,
    draw,
    pixels_of,
    samples,
)


def test_the_global_random_numbers_are_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    apply([TorchvisionTransform(v2.ColorJitter(0.5))], draw(8, 8, []), seed=1)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("how", ["polygon", "rle", "box"])
def test_a_flip_of_theirs_is_a_flip_of_ours(how):
    shapes = [Shape("corner", (2, 3, 14, 20), how), Shape("octagon", (16, 4, 30, 22), how)]
    sample = draw(24, 31, shapes)
    ours = apply([RandomHorizontalFlip(1.0)], sample, seed=0)
    theirs = apply([TorchvisionTransform(v2.RandomHorizontalFlip(1.0))], sample, seed=0)
    np.testing.assert_array_equal(theirs.image, ours.image)
    np.testing.assert_array_equal(theirs.boxes, ours.boxes)
    np.testing.assert_array_equal(pixels_of(theirs), pixels_of(ours))
    for item, annotated in zip(theirs.items, sample.items, strict=True):
        assert (item is annotated) == (how == "box")
        assert item.mask is None or item.mask["size"] == [24, 31]


def test_what_they_do_not_move_stays_as_annotated():
    sample = draw(24, 31, [Shape("corner", (2, 3, 14, 20)), Shape("arch", (16, 4, 30, 22), "rle")])
    sample = apply([Resize(48, 62)], sample, seed=0)
    result = apply([TorchvisionTransform(v2.ColorJitter(0.5))], sample, seed=0)
    assert result.items == sample.items
    np.testing.assert_array_equal(result.placements, sample.placements)
    np.testing.assert_array_equal(result.windows, sample.windows)


@settings(max_examples=15)
@given(samples(("polygon", "rle", "box"), least_objects=1), st.integers(0, 2**32))
def test_whatever_they_move_is_found_by_what_comes_next(sample, seed):
    """Enlarged by theirs and mirrored by ours: masks, boxes and colours stay together."""
    theirs = TorchvisionTransform(v2.Resize((50, 60)))
    result = apply([theirs, RandomHorizontalFlip(1.0)], sample, seed)
    check_whole(result)
    check_agreement(result, tolerance=1.5)
    check_content(result, blur=1 + 1.5 * 60 / 24)


def test_the_box_of_an_object_without_mask_takes_its_placement_along():
    """Cut by ours after theirs has moved it, it has to know how much of it there was."""
    sample = draw(20, 40, [Shape("rectangle", (4, 4, 24, 16), "box")])
    result = apply([TorchvisionTransform(v2.Resize((40, 80)))], sample, seed=0)
    scale_x, scale_y, left, top = result.placements[0]
    x1, y1, x2, y2 = result.items[0].box
    moved = [x1 * scale_x + left, y1 * scale_y + top, x2 * scale_x + left, y2 * scale_y + top]
    np.testing.assert_allclose(moved, [8, 8, 48, 32], atol=1e-4)
    quarter = move(result, result.image[:, 38:], offset=(-38.0, 0.0))
    assert len(cut_to_visible(quarter, 0.25).boxes) == 1
    assert len(cut_to_visible(quarter, 0.26).boxes) == 0


@pytest.mark.parametrize("how", ["polygon", "box"])
def test_they_may_remove_boxes(how):
    sample = draw(
        16, 24, [Shape("rectangle", (0, 0, 9, 9), how), Shape("arch", (12, 2, 22, 12), how)]
    )
    boxes = sample.boxes.copy()
    boxes[0, 2] = 0  # without width
    sample = sample._replace(boxes=boxes)
    result = apply([TorchvisionTransform(v2.SanitizeBoundingBoxes())], sample, seed=0)
    check_whole(result)
    assert [item.label for item in result.items] == [1]
    assert result.boxes.tolist() == [[12, 2, 22, 12]]


def test_a_crop_of_theirs_keeps_masks_inside_their_boxes():
    sample = draw(24, 32, [Shape("octagon", (4, 4, 28, 22))])
    theirs = TorchvisionTransform(v2.RandomCrop((12, 14)))
    for seed in range(10):
        result = apply([theirs], sample, seed)
        check_whole(result)
        assert result.windows.tolist() == [[0, 0, 14, 12]]
        ours = np.zeros((12, 14), bool)
        x1, y1, x2, y2 = result.boxes[0].astype(int)
        ours[y1:y2, x1:x2] = True
        assert not (pixels_of(result)[0] & ~ours).any()
        check_content(result, 1)


class Forgetful(v2.Transform):
    def forward(self, inputs):
        return {**inputs, "boxes": inputs["boxes"][:0]}


class Drawer(v2.Transform):
    """Says what it was given."""

    def forward(self, inputs):
        self.keys = set(inputs)
        return inputs


def test_what_forgets_labels_is_refused():
    sample = draw(16, 24, [Shape("rectangle", (0, 0, 9, 9))])
    with pytest.raises(UserError, match="'boxes': 0, 'labels': 1, 'masks': 1"):
        apply([TorchvisionTransform(Forgetful())], sample, seed=0)


def test_without_masks_no_planes_are_made():
    look = Drawer()
    apply([TorchvisionTransform(look)], draw(16, 24, [Shape("arch", (0, 0, 9, 9), "box")]), 0)
    assert look.keys == {"image", "boxes", "labels"}
    apply([TorchvisionTransform(look)], draw(16, 24, []), 0)
    assert look.keys == {"image", "boxes", "labels"}
    apply([TorchvisionTransform(look)], draw(16, 24, [Shape("arch", (0, 0, 9, 9), "rle")]), 0)
    assert look.keys == {"image", "boxes", "labels", "masks"}


def test_float_pixels_are_refused():
    transform = TorchvisionTransform(v2.ToDtype(torch.float32, scale=True))
    with pytest.raises(UserError, match="images stay uint8"):
        apply([transform], draw(8, 8, []), seed=0)


def test_a_box_without_area_is_no_obstacle():
    item = Object((3.0, 3.0, 3.0, 9.0), 0, 0.0)
    sample = Sample.from_objects(np.zeros((10, 20, 3), np.uint8), [item])
    result = apply([TorchvisionTransform(v2.Resize((20, 40)))], sample, seed=0)
    check_whole(result)
    assert result.boxes.tolist() == [[6, 6, 6, 18]]
