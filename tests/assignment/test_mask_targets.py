"""What cells of a RoI are to learn, for masks that one can draw by hand."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from lit_detseg.assignment.mask_targets import mask_targets, roi_mask_targets
from lit_detseg.assignment.roi_sampling import SampledRoIs
from lit_detseg.ops.masks import pack_masks, rasterise
from tests.tiny_detection import box_masks, make_target

SIZE = (64, 96)


def targets_of(masks, rois, cells, method="drawn", objects=None):
    objects = list(range(len(rois))) if objects is None else objects
    return mask_targets(masks, torch.tensor(objects), torch.tensor(rois), cells, SIZE, method)


def test_a_cell_is_inside_where_its_middle_is():
    """An object over the left 5 of 8 pixels; cells of 2 pixels have their middles at 1, 3, 5, 7."""
    targets = targets_of(box_masks([[0.0, 0, 5.5, 8]]), [[0.0, 0, 8, 8]], cells=4)
    assert targets[0].tolist() == [[1, 1, 1, 0]] * 4


def test_a_roi_sees_the_part_of_its_object_that_it_covers():
    masks = box_masks([[10.0, 10, 20, 20], [40, 40, 60, 60]])
    targets = targets_of(masks, [[15.0, 15, 25, 25], [0, 0, 30, 30]], cells=2, objects=[0, 1])
    assert targets[0].tolist() == [[1, 0], [0, 0]]
    assert targets[1].sum() == 0


def test_polygons_are_drawn_at_the_resolution_of_the_roi():
    """A triangle over a RoI of 4 x 4 pixels, in 8 x 8 cells: finer than the image."""
    triangle = pack_masks(
        [[[0.0, 0, 4, 4, 0, 4]]], [SIZE], np.array([[1.0, 1, 0, 0]]), np.array([[0.0, 0, 96, 64]])
    )
    targets = targets_of(triangle, [[0.0, 0, 4, 4]], cells=8)
    below_diagonal = torch.ones(8, 8).tril(diagonal=-1)
    assert torch.equal(targets[0].tril(diagonal=-1), below_diagonal)
    assert targets[0].triu(diagonal=1).sum() == 0


def test_run_lengths_are_cut_out_as_well():
    pixels = np.zeros(SIZE, dtype=np.uint8)
    pixels[8:16, 8:12] = 1
    rle = coco_mask.encode(np.asfortranarray(pixels))
    masks = pack_masks([rle], [SIZE], np.array([[1.0, 1, 0, 0]]), np.array([[0.0, 0, 96, 64]]))
    targets = targets_of(masks, [[8.0, 8, 16, 16]], cells=2)
    assert targets[0].tolist() == [[1, 0], [1, 0]]


def test_resampled_targets_are_torchvision_s():
    masks = box_masks([[3.0, 5, 41, 30], [20, 20, 60, 63]])
    rois = torch.tensor([[2.5, 4.2, 44.1, 33.3], [18, 25, 70, 60], [30, 1, 50, 22]])
    objects = torch.tensor([0, 1, 0])
    whole = np.tile([0.0, 0, SIZE[1], SIZE[0]], (2, 1))
    bitmaps = torch.from_numpy(rasterise(masks, np.arange(2), whole, *SIZE))

    expected = project_masks_on_boxes(bitmaps, rois, objects, 28)

    targets = mask_targets(masks, objects, rois, 28, SIZE, "resampled")
    torch.testing.assert_close(targets, expected)
    assert ((targets > 0) & (targets < 1)).any()


@pytest.mark.parametrize("method", ["drawn", "resampled", "cropped"])
def test_no_rois_have_no_targets(method):
    nothing = torch.zeros(0, 4)
    none = torch.zeros(0, dtype=torch.int64)
    targets = mask_targets(box_masks([[0.0, 0, 5, 5]]), none, nothing, 7, SIZE, method)
    assert targets.shape == (0, 7, 7)


def test_cropped_targets_are_read_between_the_pixels_around_a_cell_s_middle():
    """A bitmap of columns 0, 0, 1, 1, ...: RoI of 8 columns from 0.4 (rounded to 0), 4 cells.

    The middle of cell j is at 2 j + 1, halfway between the middles of columns 2 j and 2 j + 1.
    Moved by one column it would be halfway between a column inside and one outside.
    """
    masks, rois = box_masks([[2.0, 0, 20, 20]]), [[0.4, 0, 8.4, 8], [1.0, 0, 9, 8]]
    targets = targets_of(masks, rois, 4, "cropped", objects=[0, 0])
    assert targets[:, 0].tolist() == [[0, 1, 1, 1], [0.5, 1, 1, 1]]


def test_masks_of_crowds_are_not_counted_among_the_objects():
    """The second object of the image is the first that is learned."""
    target = make_target([[0, 0, 40, 40], [4, 4, 12, 12]], [0, 1], masks=True)
    target = target._replace(is_crowd=torch.tensor([True, False]))
    rois = SampledRoIs(
        torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([2]), torch.tensor([0]), torch.zeros(1, 4)
    )
    assert roi_mask_targets(rois, target, 4, SIZE)[0].tolist() == [
        [0, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 1, 1, 0],
        [0, 0, 0, 0],
    ]
