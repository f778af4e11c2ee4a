"""Drawn shapes: annotations that fit the picture."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from lit_detseg.data.images import decode
from lit_detseg.data.packing.checks import check_objects
from lit_detseg.data.readers.shapes import CLASSES, LEAST_VISIBLE_PIXELS, ShapesReader
from lit_detseg.errors import UserError
from tests.data.shard_sets import each


@pytest.fixture(scope="module")
def samples():
    return [sample for sample, _ in each(ShapesReader(200, seed=0, size=96))]


def test_an_image_depends_on_its_number_and_the_seed_only(samples):
    few = [sample for sample, _ in each(ShapesReader(3, seed=0, size=96))]
    other = [sample for sample, _ in each(ShapesReader(3, seed=1, size=96))]
    assert few == samples[:3]
    assert all(a.image != b.image for a, b in zip(few, other, strict=True))


def test_pictures_have_the_size_asked_for(samples):
    assert decode(samples[0].image).shape == (96, 96, 3)


def test_boxes_are_tight_around_the_visible_masks(samples):
    for sample in samples:
        for item in sample.objects:
            mask = coco_mask.decode(item.mask)
            rows, columns = np.nonzero(mask)
            tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert item.box == tight
            assert item.area == mask.sum() >= LEAST_VISIBLE_PIXELS


def test_visible_masks_do_not_overlap(samples):
    for sample in samples:
        masks = [coco_mask.decode(item.mask) for item in sample.objects]
        assert np.sum(masks, axis=0).max(initial=0) <= 1


def test_shapes_do_overlap(samples):
    """Where a shape is hidden in part, its mask covers clearly less than a whole one's."""
    squares = [item for sample in samples for item in sample.objects if item.label == 1]
    inside = [item for item in squares if min(item.box) > 0 and max(item.box) < 96]
    # A whole square covers at least half of its upright bounding box, whatever its turn.
    hidden = [o for o in inside if o.area < 0.45 * np.prod(np.subtract(o.box[2:], o.box[:2]))]
    assert len(hidden) > 3


def test_all_classes_and_empty_images_occur(samples):
    counts = [len(sample.objects) for sample in samples]
    labels = [item.label for sample in samples for item in sample.objects]
    assert 0 < counts.count(0) < 20
    assert max(counts) == 6
    assert min(np.bincount(labels, minlength=len(CLASSES))) > 0.2 * len(labels)


def test_no_row_is_a_fault(samples):
    for sample in samples:
        assert check_objects(sample, ShapesReader.label_map, 96, 96, False).faults == []


def test_a_shape_stands_out_from_what_is_behind_it(samples):
    """The mask lies on the shape: across its border the picture changes, inside it less."""
    contrasts = []
    for sample in samples[:50]:
        pixels = decode(sample.image).astype(float)
        for item in sample.objects:
            inside = coco_mask.decode(item.mask).astype(bool)
            contrasts.append(np.abs(pixels[inside].mean(0) - pixels[~inside].mean(0)).max())
    assert np.median(contrasts) > 40


@pytest.mark.parametrize("options", [{"images": 0}, {"size": 10}, {"seed": -1}])
def test_impossible_wishes_are_refused(options):
    with pytest.raises(UserError, match="at least 1 image of at least 48 pixels"):
        ShapesReader(**options)
