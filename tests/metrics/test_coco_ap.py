"""COCO's numbers against pycocotools, and against numbers worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_detseg.metrics.coco_ap import CocoAveragePrecision
from lit_detseg.structures import UserError
from tests.metrics.drawn import (
    NUM_CLASSES,
    DrawnImage,
    coco_evaluation,
    image_sets,
    random_images,
    update,
)

TWELVE = [
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"),
]


def coco_metric():
    metric = CocoAveragePrecision()
    metric.class_names = ("cat", "dog", "cow")
    return metric


def assert_equals_pycocotools(metric, images):
    scores = metric.compute()

    theirs = coco_evaluation(images)
    expected = np.where(theirs.stats == -1, np.nan, theirs.stats)
    np.testing.assert_allclose([scores[key] for key in TWELVE], expected, rtol=0, atol=1e-15)
    precision, recall = theirs.eval["precision"][..., 2], theirs.eval["recall"]
    np.testing.assert_array_equal(np.nan_to_num(metric.curves.precision, nan=-1), precision)
    np.testing.assert_array_equal(np.nan_to_num(metric.curves.recall, nan=-1), recall)


@settings(max_examples=150, deadline=None)
@given(image_sets.filter(len), st.randoms(use_true_random=False))
def test_every_number_is_pycocotools_whatever_the_order_of_images(images, random):
    metric = coco_metric()
    random.shuffle(images)
    for image in images:
        update(metric, [image])

    assert_equals_pycocotools(metric, images)
    assert metric.num_images == len(images)


@pytest.mark.parametrize("seed", range(4))
def test_realistic_images_over_several_chunks(seed):
    images = random_images(seed, count=150)
    metric = coco_metric()
    update(metric, images[::-1])

    assert_equals_pycocotools(metric, images)


def test_only_the_best_100_detections_of_a_class_and_image_count():
    images = random_images(0, count=10, most_found=800)
    assert max(len(image.found) for image in images) > 100 * NUM_CLASSES
    metric = coco_metric()
    update(metric, images)

    assert_equals_pycocotools(metric, images)


def test_one_hit_one_stray_and_one_miss():
    """Two cats of 20 x 20 pixels: the second best detection has one exactly, the other none has."""
    image = DrawnImage(
        "a",
        found=[([100, 100, 120, 120], 0, 0.9), ([0, 0, 20, 20], 0, 0.8)],
        objects=[
            ([0, 0, 20, 20], 0, 400.0, False, False),
            ([50, 0, 70, 20], 0, 400.0, False, False),
        ],
    )
    metric = coco_metric()
    update(metric, [image])

    scores = metric.compute()

    # Precision is 1/2 up to a recall of 1/2, that is at 51 of the 101 thresholds, at every IoU.
    assert scores["map"].item() == pytest.approx(51 / 101 / 2, abs=1e-15)
    assert scores["map_cat"] == scores["map"]
    assert scores["mar_1"] == 0
    assert scores["mar_10"] == 0.5
    # The stray is as small as the cats: it counts for the small ones. No dog, nothing large: NaN.
    assert scores["map_small"] == scores["map"]
    assert scores["map_dog"].isnan()
    assert scores["map_large"].isnan()
    assert scores["map"].dtype == torch.float64


def test_what_is_found_in_a_crowd_is_neither_right_nor_wrong():
    inside = [([x, 0.0, x + 10, 10.0], 0, 0.9) for x in range(0, 90, 10)]
    image = DrawnImage(
        "a",
        found=[*inside, ([200, 0, 220, 20], 0, 0.5)],
        objects=[
            ([0, 0, 100, 100], 0, 10_000.0, True, False),
            ([200, 0, 220, 20], 0, 400.0, False, False),
        ],
    )
    metric = coco_metric()
    update(metric, [image])

    assert metric.compute()["map"].item() == pytest.approx(1, abs=1e-15)


def test_images_without_detections_count():
    found = DrawnImage("a", [([0, 0, 20, 20], 0, 0.9)], [([0, 0, 20, 20], 0, 400.0, False, False)])
    missed = DrawnImage("b", [], found.objects)
    metric = coco_metric()
    update(metric, [found, missed])

    assert metric.compute()["mar_100"] == 0.5
    assert metric.num_images == 2


def test_difficult_objects_are_objects_like_any_other():
    missed = DrawnImage("a", [], [([0, 0, 20, 20], 0, 400.0, False, True)])
    metric = coco_metric()
    update(metric, [missed])

    assert metric.compute()["map"] == 0


def test_an_image_seen_twice_counts_once():
    images = random_images(1, count=20)
    once, twice = coco_metric(), coco_metric()
    update(once, images)
    update(twice, images)
    update(twice, images[::-1])

    scores = twice.compute()

    assert twice.num_images == 20
    torch.testing.assert_close(scores, once.compute(), rtol=0, atol=0, equal_nan=True)


def test_nothing_seen_is_nan_and_not_minus_one():
    metric = coco_metric()
    metric.update([], [])

    scores = metric.compute()

    assert list(scores) == [*TWELVE, "map_cat", "map_dog", "map_cow"]
    assert all(score.isnan() for score in scores.values())
    assert metric.num_images == 0


def test_without_a_label_map_classes_go_by_number():
    metric = CocoAveragePrecision()
    update(metric, [DrawnImage("a", [([0, 0, 20, 20], 1, 0.9)], [])])

    assert list(metric.compute())[12:] == ["map_0", "map_1"]


def test_a_class_called_small_does_not_overwrite_the_small_objects():
    metric = CocoAveragePrecision()
    metric.class_names = ("small", "50")
    update(metric, [DrawnImage("a", [], [([0, 0, 200, 200], 0, 4e4, False, False)])])

    scores = metric.compute()

    assert scores["map_small"].isnan()
    assert scores["map_small_class"] == 0
    assert scores["map_50_class"].isnan()


def test_a_label_outside_of_the_label_map_is_named():
    metric = coco_metric()
    with pytest.raises(UserError, match="Image a has a detection of class 7.* has 3 classes"):
        update(metric, [DrawnImage("a", [([0, 0, 20, 20], 7, 0.9)], [])])


def test_a_score_that_is_not_finite_is_refused():
    metric = coco_metric()
    with pytest.raises(UserError, match="in image a has a box or score that is not finite"):
        update(metric, [DrawnImage("a", [([0, 0, 20, 20], 0, float("nan"))], [])])
