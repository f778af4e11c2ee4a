"""Crops of regions, pixel by pixel against OpenCV and R-CNN's arithmetic written out."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lit_detseg.ops.warping import warp_regions

HEIGHT, WIDTH = 37, 53


def noise(height=HEIGHT, width=WIDTH, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def crop_by_hand(image, box, side, context, mode):
    """rcnn_im_crop.m step by step: pixels from 1, first and last included."""
    x1, y1, x2, y2 = box[0] + 1, box[1] + 1, box[2], box[3]
    half_width, half_height = (x2 - x1 + 1) / 2, (y2 - y1 + 1) / 2
    middle_x, middle_y = x1 + half_width, y1 + half_height
    if mode == "square":
        half_width = half_height = max(half_width, half_height)
    scale = side / (side - 2 * context)
    corners = [middle_x - half_width * scale, middle_y - half_height * scale]
    corners += [middle_x + half_width * scale, middle_y + half_height * scale]
    left, top, right, bottom = (int(np.floor(value + 0.5)) for value in corners)
    scale_x, scale_y = side / (right - left + 1), side / (bottom - top + 1)
    pad_x, pad_y = max(0, 1 - left), max(0, 1 - top)
    left, top = max(1, left), max(1, top)
    right, bottom = min(image.shape[2], right), min(image.shape[1], bottom)
    width = int(np.floor((right - left + 1) * scale_x + 0.5))
    height = int(np.floor((bottom - top + 1) * scale_y + 0.5))
    pad_x, pad_y = (int(np.floor(v + 0.5)) for v in (pad_x * scale_x, pad_y * scale_y))
    width, height = min(width, side - pad_x), min(height, side - pad_y)
    window = image.permute(1, 2, 0).numpy()[top - 1 : bottom, left - 1 : right]
    crop = np.zeros((side, side, 3), np.float32)
    crop[pad_y : pad_y + height, pad_x : pad_x + width] = cv2.resize(
        window, (width, height), interpolation=cv2.INTER_LINEAR
    ).reshape(height, width, 3)
    return torch.from_numpy(crop).permute(2, 0, 1)


BOXES = {
    "inside": [10, 8, 30, 28],
    "the whole image": [0, 0, WIDTH, HEIGHT],
    "one pixel in the middle": [20, 15, 21, 16],
    "the first pixel": [0, 0, 1, 1],
    "the last pixel": [WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT],
    "along the left border": [0, 5, 3, 30],
    "along the bottom": [4, HEIGHT - 2, WIDTH, HEIGHT],
    "no whole pixels": [3.3, 4.75, 17.2, 9.6],
}


@pytest.mark.parametrize("mode", ["warp", "square"])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
def test_a_crop_is_what_the_program_makes_of_it(box, mode):
    image = noise()
    (crop,) = warp_regions(image, torch.tensor([box], dtype=torch.float32), 45, 6, mode)
    expected = crop_by_hand(image, box, 45, 6, mode)
    torch.testing.assert_close(crop, expected, rtol=0, atol=1e-5)


@given(
    corner=st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1)),
    size=st.tuples(st.integers(1, WIDTH), st.integers(1, HEIGHT)),
    side=st.integers(20, 70),
    context=st.integers(0, 9),
    mode=st.sampled_from(["warp", "square"]),
)
@example(
    corner=(25, 0), size=(25, 1), side=42, context=6, mode="warp"
)  # 33 of 36 columns: 38.5, rounded 39
def test_any_box_any_side_any_context(corner, size, side, context, mode):
    far = [min(corner[0] + size[0], WIDTH), min(corner[1] + size[1], HEIGHT)]
    box = [*corner, *far]
    (crop,) = warp_regions(noise(), torch.tensor([box], dtype=torch.float32), side, context, mode)
    torch.testing.assert_close(
        crop, crop_by_hand(noise(), box, side, context, mode), rtol=0, atol=1e-5
    )


def test_context_beyond_the_border_is_exactly_zero():
    """Box (0, 0, 10, 10), side 20, 5 pixels of context: scale 2, middle 5, window -5 .. 16.

    Its length is 21, for the middle is 5 of pixels counted from 0. The first 5 pixels of it, in
    the crop 5 * 20 / 21 = 4.76, rounded 5, are outside; the rest is round(16 * 20 / 21) = 15.
    """
    crop = warp_regions(torch.ones(1, 40, 40), torch.tensor([[0.0, 0, 10, 10]]), 20, context=5)[0]
    torch.testing.assert_close(crop[0, 5:, 5:], torch.ones(15, 15))
    assert crop[0, :5].eq(0).all()
    assert crop[0, :, :5].eq(0).all()


def test_a_region_without_context_fills_its_crop():
    """A window is one pixel longer than its region: columns 10 .. 20 of a ramp, in 11 pixels."""
    ramp = torch.arange(30.0).expand(30, 30)[None]
    crop = warp_regions(ramp, torch.tensor([[10.0, 10, 20, 20]]), 11, context=0)[0, 0]
    torch.testing.assert_close(crop, torch.arange(10.0, 21.0).expand(11, 11))


def test_warp_distorts_and_square_does_not():
    """A bright 20 x 10 region: as high as wide when warped, half as high in a square crop."""
    image = torch.zeros(1, 60, 60)
    image[:, 25:35, 20:40] = 1
    box = torch.tensor([[20.0, 25, 40, 35]])
    bright = {}
    for mode in ("warp", "square"):
        crop = warp_regions(image, box, 32, 8, mode)[0, 0] > 0.5
        bright[mode] = crop.any(dim=1).sum().item() / crop.any(dim=0).sum().item()
    assert bright["warp"] == pytest.approx(1, abs=0.1)
    assert bright["square"] == pytest.approx(0.5, abs=0.1)


def test_regions_do_not_know_of_each_other():
    boxes = torch.tensor([list(map(float, box)) for box in BOXES.values()])
    together = warp_regions(noise(), boxes, 24, 4)
    alone = torch.cat([warp_regions(noise(), box[None], 24, 4) for box in boxes])
    assert together.equal(alone)


def test_a_region_outside_of_the_image_is_all_zero():
    box = torch.tensor([[200.0, 200, 220, 220]])
    assert warp_regions(noise(), box, 20, 4).eq(0).all()


def test_no_regions_give_no_crops():
    assert warp_regions(noise(), torch.zeros(0, 4), 20, 4).shape == (0, 3, 20, 20)
