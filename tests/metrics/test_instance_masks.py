"""Masks of either side as run lengths."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from lit_detseg.metrics.instance_masks import found_masks, true_masks
from lit_detseg.structures import InstanceMasks, UserError
from tests.metrics.drawn_masks import random_scenes, rle

SCENE = next(scene for scene in random_scenes(1, 5) if len(scene.found) > 2)


def decoded(column):
    return [coco_mask.decode(one).astype(bool) for one in column]


def mixed(sizes=((10, 20), (10, 20), (10, 20))):
    """Two rectangles as polygons, one RLE, and one more polygon."""
    first, second, third = (
        [0, 0, 4, 0, 4, 4, 0, 4],
        [10, 0, 14, 0, 14, 4, 10, 4],
        [5, 5, 9, 5, 9, 9],
    )
    middle = np.zeros((10, 20), bool)
    middle[3, 4] = True
    counts = rle(middle)["counts"]
    return InstanceMasks(
        points=np.array(first + second + third, np.float64).reshape(-1, 2),
        polygon_points=np.array([4, 4, 3]),
        polygons=np.array([2, 0, 1]),
        counts=np.frombuffer(counts, np.uint8),
        count_bytes=np.array([0, len(counts), 0]),
        sizes=np.array(sizes),
        placements=np.tile([0.5, 0.5, 3.0, 3.0], (3, 1)),  # where it stands in a batch
        windows=np.tile([0.0, 0.0, 20.0, 10.0], (3, 1)),
    ), [[first, second], middle, [third]]


def test_predicted_masks_come_back_from_their_run_lengths():
    found = decoded(found_masks(SCENE.detections(), SCENE.target()))
    for mask, (expected, _, _) in zip(found, SCENE.found, strict=True):
        np.testing.assert_array_equal(mask, expected)


def test_annotated_polygons_and_run_lengths_stay_where_they_were_annotated():
    masks, (polygons, middle, last) = mixed()
    target = SCENE.target()._replace(masks=masks, original_size=(10, 20))

    first, second, third = decoded(true_masks(target))

    expected = coco_mask.merge(coco_mask.frPyObjects(polygons, 10, 20))
    np.testing.assert_array_equal(first, coco_mask.decode(expected))
    assert first.sum() == 32
    np.testing.assert_array_equal(second, middle)
    np.testing.assert_array_equal(
        third, coco_mask.decode(coco_mask.frPyObjects(last, 10, 20))[..., 0]
    )


def test_nothing_is_no_rows():
    nothing = SCENE._replace(found=[], ids=np.full_like(SCENE.ids, 7))
    found, target = nothing.detections()._replace(masks=None), nothing.target()
    assert found_masks(found, target).shape == true_masks(target).shape == (0,)
    assert true_masks(target._replace(masks=None)).shape == (0,)


def test_missing_masks_say_what_to_do():
    found, target = SCENE.detections(), SCENE.target()
    with pytest.raises(UserError, match="have no masks.*a metric of boxes"):
        found_masks(found._replace(masks=None), target)
    with pytest.raises(UserError, match="3 boxes"):
        found_masks(found._replace(boxes=torch.zeros(3, 4), masks=found.masks[:2]), target)
    with pytest.raises(UserError, match="come without masks"):
        true_masks(target._replace(masks=None))
    masks, _ = mixed()
    bare = masks._replace(polygons=np.array([2, 0, 0]))
    with pytest.raises(UserError, match="Object 2 of image frame_.* has a box and no mask"):
        true_masks(target._replace(masks=bare, original_size=(10, 20)))


def test_another_image_size_is_refused():
    masks, _ = mixed(((10, 20), (12, 20), (10, 20)))
    target = SCENE.target()._replace(masks=masks, original_size=(10, 20))
    with pytest.raises(UserError, match=r"mask of object 1 has the size \(12, 20\)"):
        true_masks(target)
