"""Cityscapes' rules on one image, worked out by hand (and against the script in tests/oracles)."""

import numpy as np
import pytest

from lit_detseg.metrics.cityscapes_matching import (
    IOU_THRESHOLDS,
    VOID,
    average_precision,
    cityscapes_average_precisions,
    match_cityscapes,
)
from lit_detseg.metrics.pairs import Found, Truth
from tests.metrics.drawn_masks import rle

SIZE = (40, 100)


def rectangle(x1, x2, height=10):
    mask = np.zeros(SIZE, bool)
    mask[:height, x1:x2] = True
    return mask


def judged(found, objects):
    """`found`: (mask, score); `objects`: (mask, is_crowd, label); predictions are of class 0."""
    masks, scores = zip(*found, strict=True)
    shapes, crowd, labels = zip(*objects, strict=True)
    rows = Found(
        image=np.zeros(len(masks), np.int64),
        label=np.zeros(len(masks), np.int64),
        score=np.array(scores),
        shape=column(masks),
        area=np.array([mask.sum() for mask in masks], float),
    )
    truth = Truth(
        image=np.zeros(len(shapes), np.int64),
        label=np.array(labels),
        shape=column(shapes),
        area=np.array([mask.sum() for mask in shapes], float),
        is_crowd=np.array(crowd),
        is_difficult=np.zeros(len(shapes), bool),
    )
    return match_cityscapes(rows, truth)


def column(masks):
    result = np.empty(len(masks), object)
    result[:] = [rle(mask) for mask in masks]
    return result


def bits(packed):
    return np.unpackbits(packed, axis=1, count=len(IOU_THRESHOLDS)).astype(bool)


def test_iou_has_to_be_above_the_threshold():
    """12 of 20 columns: IoU 0.6 is above 0.5 and 0.55, and not above the third threshold."""
    matches, sought = judged([(rectangle(0, 12), 0.9)], [(rectangle(0, 20), False, 0)])
    assert bits(matches.is_match)[0].tolist() == [True, True] + [False] * 8
    assert not bits(matches.is_ignored).any()
    assert sought.counts.tolist() == [[True]]


def test_of_two_on_one_object_the_better_score_is_right_and_the_other_wrong():
    """Even where the other one fits better."""
    matches, _ = judged(
        [(rectangle(0, 20), 0.3), (rectangle(0, 18), 0.8)], [(rectangle(0, 20), False, 0)]
    )
    assert matches.score.tolist() == [0.8, 0.3]
    # 0.9 is reached by 0.85; then the better score has no match, and the other one is right.
    assert bits(matches.is_match)[0].tolist() == [True] * 8 + [False] * 2
    assert bits(matches.is_match)[1].tolist() == [False] * 8 + [True] * 2
    assert not bits(matches.is_ignored).any()


@pytest.mark.parametrize(
    ("height", "width", "is_crowd", "label"),
    [
        pytest.param(10, 40, True, 0, id="group"),
        pytest.param(3, 33, False, 0, id="99 pixels"),
        pytest.param(10, 40, False, VOID, id="void"),
    ],
)
def test_what_lies_in_ignored_pixels_is_not_counted(height, width, is_crowd, label):
    region = rectangle(0, width, height)
    matches, sought = judged([(region, 0.9)], [(region, is_crowd, label)])
    assert bits(matches.is_ignored).all()
    assert not bits(matches.is_match).any()
    assert not sought.counts.any()
    assert len(sought.label) == (label != VOID)


def test_an_object_of_100_pixels_is_sought():
    matches, sought = judged([(rectangle(0, 10), 0.9)], [(rectangle(0, 10), False, 0)])
    assert bits(matches.is_match).all()
    assert sought.counts.tolist() == [[True]]


def test_a_prediction_is_ignored_where_more_than_the_threshold_of_it_is_void():
    """14 of its 20 columns: 0.7, which the fifth threshold, 0.7000000000000002, is not below."""
    matches, _ = judged([(rectangle(0, 20), 0.9)], [(rectangle(0, 14), False, VOID)])
    assert bits(matches.is_ignored)[0].tolist() == [True] * 4 + [False] * 6


def test_groups_of_another_class_are_not_ignored():
    matches, _ = judged([(rectangle(0, 20), 0.9)], [(rectangle(0, 20), True, 1)])
    assert not bits(matches.is_ignored).any()


def test_a_small_group_counts_twice():
    """9 x 8 = 72 of 120 pixels, twice: 1.2."""
    matches, _ = judged([(rectangle(0, 12), 0.9)], [(rectangle(0, 8, 9), True, 0)])
    assert bits(matches.is_ignored).all()


def test_ap_is_integrated_in_steps_around_each_score():
    # Right, wrong, right of 4 objects: precision 1, 1/2, 2/3 at recalls 1/4, 1/4, 1/2.
    # Widths, half the way between the neighbours, from the lowest score on:
    # (1/2 - 1/4) / 2, (1/2 - 1/4) / 2, (1/4 - 0) / 2, and (1/4 - 0) / 2 for the point (0, 1).
    expected = 2 / 3 / 8 + 1 / 2 / 8 + 1 / 8 + 1 / 8
    score = average_precision(np.array([0.2, 0.9, 0.5]), np.array([True, True, False]), 4)
    assert score == pytest.approx(expected, abs=1e-15)


def test_equal_scores_are_one_point():
    # Precision 1/2 at recall 1 twice over: widths (1 - 0) / 2 for it and for (0, 1).
    score = average_precision(np.array([0.5, 0.5]), np.array([True, False]), 1)
    assert score == pytest.approx(0.5 / 2 + 1 / 2)


def test_no_prediction_is_zero_and_no_object_is_not_a_number():
    matches, sought = judged([(rectangle(0, 20), 0.5)], [(rectangle(50, 70), False, 1)])
    scores = cityscapes_average_precisions(matches, sought, 3)
    assert np.isnan(scores[0]).all()
    assert (scores[1] == 0).all()
    assert np.isnan(scores[2]).all()
