"""Boxes back in pixels of the original image."""

import torch

from lit_detseg.modules.original_size import to_original_size
from lit_detseg.structures import BoxTarget, Detections, Images


def target_of(height, width, placement=None):
    none = torch.zeros(0)
    return BoxTarget(
        boxes=none.reshape(0, 4),
        labels=none.long(),
        image_id="a",
        original_size=(height, width),
        is_crowd=none.bool(),
        is_difficult=none.bool(),
        original_boxes=none.double().reshape(0, 4),
        areas=none.double(),
        placement=placement,
    )


def test_each_axis_is_scaled_by_its_own_ratio():
    # 480 x 640 shown at 240 x 160: y doubles, x is multiplied by four.
    images = Images(torch.zeros(1, 3, 240, 160), torch.tensor([[240, 160]]))
    found = [Detections(torch.tensor([[10.0, 20, 30, 40]]), torch.tensor([0]), torch.ones(1))]

    (result,) = to_original_size(found, images, [target_of(480, 640)])

    assert result.boxes.tolist() == [[40, 40, 120, 80]]
    assert result.boxes.dtype == torch.float64


def test_a_letterbox_is_undone():
    # 100 high, 200 wide, shown half as large in the middle of 100 x 100: 25 rows above and below.
    images = Images(torch.zeros(1, 3, 100, 100), torch.tensor([[100, 100]]))
    found = [Detections(torch.tensor([[10.0, 30, 50, 75]]), torch.tensor([0]), torch.ones(1))]

    (result,) = to_original_size(found, images, [target_of(100, 200, (0.5, 0.5, 0.0, 25.0))])

    assert result.boxes.tolist() == [[20, 10, 100, 100]]


def test_what_lies_on_the_padding_is_cut_at_the_image_border():
    images = Images(torch.zeros(1, 3, 64, 64), torch.tensor([[32, 32]]))
    found = [Detections(torch.tensor([[-4.0, 0, 60, 33]]), torch.tensor([0]), torch.ones(1))]

    (result,) = to_original_size(found, images, [target_of(32, 32)])

    assert result.boxes.tolist() == [[0, 0, 32, 32]]


def test_an_image_without_detections_stays_one():
    images = Images(torch.zeros(1, 3, 8, 8), torch.tensor([[8, 8]]))
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    (result,) = to_original_size([nothing], images, [target_of(8, 8)])
    assert result.boxes.shape == (0, 4)
