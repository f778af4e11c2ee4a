"""Boxes and masks back in pixels of the original image."""

import pytest
import torch

from lit_detseg.modules.original_size import to_original_size
from lit_detseg.ops.pasting import Pasting, paste_masks
from lit_detseg.structures import BoxTarget, Detections, Images, UserError


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


def image_of(height, width, padded=None):
    shape = (height, width) if padded is None else padded
    return Images(torch.zeros(1, 3, *shape), torch.tensor([[height, width]]))


def detections_of(boxes, **masks):
    boxes = torch.tensor(boxes, dtype=torch.float32)
    return Detections(boxes, torch.zeros(len(boxes)).long(), torch.ones(len(boxes)), **masks)


def test_cells_are_pasted_into_the_original_image_at_its_resolution():
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(1, 7, 7, generator=generator)
    # 480 x 640 shown at 240 x 160: y doubles, x is multiplied by four.
    found = detections_of([[10.0, 20, 30, 40]], mask_cells=cells)

    (result,) = to_original_size([found], image_of(240, 160), [target_of(480, 640)])

    expected = paste_masks(cells, torch.tensor([[40.0, 40, 120, 80]]), 480, 640)
    assert torch.equal(result.masks, expected)
    assert expected.any()
    assert result.mask_cells is None


def test_cells_are_pasted_as_the_module_says():
    cells = torch.full((1, 7, 7), 0.45)
    found = detections_of([[0.0, 0, 8, 8]], mask_cells=cells)
    for pasting, pixels in ((None, 0), (Pasting(0.35), 64)):
        (result,) = to_original_size([found], image_of(8, 8), [target_of(8, 8)], pasting)
        assert result.masks.sum() == pixels


def test_cells_of_a_cut_box_are_pasted_into_what_is_left_of_it():
    """detectron2 clips boxes before it pastes: the mask is that of the clipped box."""
    found = detections_of([[-8.0, 0, 8, 8]], mask_cells=torch.ones(1, 7, 7))
    (result,) = to_original_size([found], image_of(16, 16), [target_of(16, 16)])
    assert result.masks.sum() == 64
    assert result.masks[0, :8, :8].all()


def test_a_detectors_own_pixels_are_looked_up_for_each_original_pixel():
    """2 x 4 original pixels shown at 4 x 2 and padded: rows are doubled, columns halved."""
    shown = torch.zeros(1, 6, 5, dtype=torch.bool)
    shown[0, :2, 1] = True
    shown[0, 4:] = True  # on the padding
    found = detections_of([[0.0, 0, 2, 4]], masks=shown)

    (result,) = to_original_size([found], image_of(4, 2, padded=(6, 5)), [target_of(2, 4)])

    expected = [[False, False, True, True], [False, False, False, False]]
    assert result.masks[0].tolist() == expected


def test_a_letterbox_is_undone_for_pixels_too():
    """4 x 8 original pixels shown half as large in the middle of 4 x 4: one row above and below."""
    shown = torch.zeros(1, 4, 4, dtype=torch.bool)
    shown[0, 1, 2] = True
    shown[0, 0] = True  # on the margin
    target = target_of(4, 8, (0.5, 0.5, 0.0, 1.0))

    (result,) = to_original_size(
        [detections_of([[2.0, 1, 3, 2]], masks=shown)], image_of(4, 4), [target]
    )

    expected = torch.zeros(4, 8, dtype=torch.bool)
    expected[:2, 4:6] = True
    assert torch.equal(result.masks[0], expected)


def test_masks_that_do_not_cover_the_image_are_refused():
    found = detections_of([[0.0, 0, 2, 4]], masks=torch.zeros(1, 28, 28, dtype=torch.bool))
    with pytest.raises(UserError, match="Image a is shown as 64 x 64 .* masks have 28 x 28"):
        to_original_size([found], image_of(64, 64), [target_of(64, 64)])


def test_no_detections_have_no_masks_of_the_original_size():
    found = detections_of(torch.zeros(0, 4).tolist(), mask_cells=torch.zeros(0, 7, 7))
    found = found._replace(boxes=torch.zeros(0, 4))
    (result,) = to_original_size([found], image_of(8, 8), [target_of(5, 6)])
    assert result.masks.shape == (0, 5, 6)
