"""Pasted masks: against torchvision, against `grid_sample`, and by hand."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import paste_masks_in_image

from lit_detseg.ops import pasting
from lit_detseg.ops.pasting import Pasting, paste_masks, paste_probabilities

HEIGHT, WIDTH = 48, 64
METHODS = ["continuous", "detectron"]


def random_masks(seed, count=40, cells=14):
    """Boxes inside, partly outside and as small as a pixel; some masks are empty or full."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT]) * 1.2 - 6
    size = torch.rand(count, 2, generator=generator) ** 3 * torch.tensor([WIDTH, HEIGHT]) + 0.2
    size[: count // 4] = 1.0
    corner[: count // 8].round_()  # boxes of exactly one pixel
    probabilities = torch.rand(count, cells, cells, generator=generator)
    probabilities[::5], probabilities[1::5] = 0, 1
    return probabilities, torch.cat([corner, corner + size], dim=1)


def sampled(cells, boxes):
    """detectron2's way: one point of `grid_sample` for the centre of each pixel."""
    left, top, right, bottom = boxes.double()[:, :, None].unbind(1)
    x = (torch.arange(WIDTH) + 0.5 - left) / (right - left) * 2 - 1
    y = (torch.arange(HEIGHT) + 0.5 - top) / (bottom - top) * 2 - 1
    shape = (len(boxes), HEIGHT, WIDTH)
    grid = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], dim=-1)
    return F.grid_sample(cells[:, None].double(), grid, align_corners=False)[:, 0].float()


def reaches_the_image(boxes):
    """Torchvision fails where a grown box ends left of or above the image."""
    return ((boxes[:, 2:] > 1) & (boxes[:, :2] < torch.tensor([WIDTH, HEIGHT]) - 1)).all(dim=1)


@pytest.mark.parametrize("cells", [1, 7, 28])
@pytest.mark.parametrize("seed", range(4))
def test_probabilities_are_those_of_grid_sample(seed, cells):
    probabilities, boxes = random_masks(seed, cells=cells)
    expected = sampled(probabilities, boxes)
    ours = paste_probabilities(probabilities, boxes.double(), HEIGHT, WIDTH)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cells", [1, 7, 28])
@pytest.mark.parametrize("seed", range(4))
def test_probabilities_are_those_of_torchvision(seed, cells):
    probabilities, boxes = random_masks(seed, cells=cells)
    inside = reaches_the_image(boxes)
    assert inside.sum() > 20
    probabilities, boxes = probabilities[inside], boxes[inside]
    expected = paste_masks_in_image(probabilities[:, None], boxes, (HEIGHT, WIDTH))[:, 0]
    ours = paste_probabilities(probabilities, boxes, HEIGHT, WIDTH, "detectron")
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_a_pixel_at_the_threshold_is_on_for_detectron2_and_off_for_detectron():
    """One cell that is on, by hand: pixels along an axis have 1/4, 1/2, 3/4, 1, 3/4, 1/2, 1/4.

    Detectron: three cells over six pixels (from 9.6 and 14.4, cut), of which the middle one is on:
    0, 1/4, 3/4, 3/4, 1/4, 0.
    """
    one = torch.ones(1, 1, 1)
    smooth, frame = torch.tensor([[1.5, 1.5, 5.5, 5.5]]), torch.tensor([[11.2, 11.2, 12.8, 12.8]])

    row = paste_probabilities(one, smooth, 7, 7)[0, 3]
    assert row.tolist() == [0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]
    assert paste_masks(one, smooth, 7, 7)[0, 3].sum() == 5
    row = paste_probabilities(one, frame, 24, 24, "detectron")[0, 11]
    assert row[9:15].tolist() == [0, 3 / 16, 9 / 16, 9 / 16, 3 / 16, 0]
    assert paste_masks(one, frame, 24, 24, 3 / 16, "detectron").sum() == 4


def test_a_full_mask_covers_its_box():
    mask = paste_masks(torch.ones(1, 28, 28), torch.tensor([[3.0, 5, 13, 9]]), HEIGHT, WIDTH)
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    expected[5:9, 3:13] = True
    assert torch.equal(mask[0], expected)


def test_between_two_cells_the_probability_falls_evenly():
    # Cells of 4 pixels, centres at x = 2 and x = 6: pixels 2 to 5 lie between.
    cells = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    row = paste_probabilities(cells, torch.tensor([[0.0, 0, 8, 8]]), 8, 8)[0, 4]
    assert row[2:6].tolist() == [0.875, 0.625, 0.375, 0.125]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("threshold", [0.4, 0.5])
def test_no_mask_depends_on_the_others_made_with_it(method, threshold, monkeypatch):
    cells, boxes = random_masks(9, count=7)
    one_by_one = [
        paste_masks(cells[k : k + 1], boxes[k : k + 1], HEIGHT, WIDTH, threshold, method)
        for k in range(7)
    ]
    monkeypatch.setattr(pasting, "CHUNK_ON_CPU", 3 * HEIGHT * WIDTH)
    together = paste_masks(cells, boxes, HEIGHT, WIDTH, threshold, method)
    assert torch.equal(together, torch.cat(one_by_one))


@pytest.mark.parametrize("method", METHODS)
def test_no_masks_is_an_empty_answer(method):
    nothing = paste_masks(torch.zeros(0, 14, 14), torch.zeros(0, 4), 5, 6, method=method)
    assert nothing.shape == (0, 5, 6)
    assert nothing.dtype == torch.bool


@pytest.mark.parametrize("method", METHODS)
def test_a_box_far_outside_has_no_pixels(method):
    boxes = torch.tensor([[-90.0, -90, -70, -70], [500, 500, 600, 600], [-90, 10, -70, 20]])
    assert not paste_masks(torch.ones(3, 7, 7), boxes, HEIGHT, WIDTH, method=method).any()


def test_a_box_without_area_has_no_pixels():
    """Not even where its edge goes through the centres of pixels."""
    boxes = torch.tensor([[10.5, 10, 10.5, 20], [10, 10.5, 20, 10.5], [7, 7, 7, 7]])
    assert not paste_probabilities(torch.ones(3, 7, 7), boxes, HEIGHT, WIDTH).any()


def test_the_papers_threshold_and_detectron2s_borders_are_the_default():
    assert Pasting() == Pasting(threshold=0.5, method="continuous")


@pytest.mark.parametrize("method", METHODS)
def test_autocast_does_not_move_borders(method):
    probabilities, boxes = random_masks(1)
    exact = paste_masks(probabilities, boxes, HEIGHT, WIDTH, method=method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(paste_masks(probabilities, boxes, HEIGHT, WIDTH, method=method), exact)
