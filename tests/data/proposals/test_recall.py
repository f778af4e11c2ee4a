"""Recall, by hand and against counting one box at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.proposals.recall import NUMBERS, best_iou, measure_recall
from lit_detseg.data.proposals.writer import write_proposals
from lit_detseg.data.records import Object
from lit_detseg.structures import LabelMap
from tests.data.proposals.pictures import iou
from tests.data.proposals.sets import reader_of
from tests.data.shard_sets import raw_sample, write_shards

CLASSES = LabelMap(("cat", "dog", "cow"))


def item(box, label, **flags):
    return Object(box=tuple(map(float, box)), label=label, area=1.0, **flags)


@pytest.fixture
def measured(tmp_path):
    """Two images of 100 x 100; the second has no proposals.

    The first has a cat that the 15th proposal covers by 6/10, a dog that the first covers wholly,
    and two objects that do not count. The second has a cat.
    """
    cat, dog = item([0, 0, 10, 10], 0), item([50, 50, 90, 90], 1)
    crowd = item([0, 0, 60, 60], 0, is_crowd=True)
    difficult = item([20, 20, 40, 40], 1, is_difficult=True)
    images = [
        raw_sample(key, np.zeros((100, 100, 3), np.uint8), objects)
        for key, objects in (("a", [cat, crowd, dog, difficult]), ("b", [cat]))
    ]
    folder = write_shards(tmp_path / "set", images, label_map=CLASSES)
    boxes = [[50, 50, 90, 90], *[[90, 0, 91 + n / 20, 1] for n in range(13)], [0, 0, 10, 6]]
    write_proposals(folder, "drawn", [np.array(boxes), np.zeros((0, 4))], "by hand", {})
    reader = reader_of(folder)
    return measure_recall(reader, ProposalReader(reader, "drawn"))


def test_recall_by_hand(measured):
    one_third, two_thirds = 1 / 3, 2 / 3
    np.testing.assert_allclose(measured.overall(0.5), [one_third] + [two_thirds] * 8)
    np.testing.assert_allclose(measured.overall(0.7), [one_third] * 9)
    np.testing.assert_allclose(measured.of_class(0, 0.5), [0] + [0.5] * 8)
    np.testing.assert_allclose(measured.of_class(1, 0.7), [1] * 9)
    assert measured.objects.tolist() == [2, 1, 0]
    assert measured.proposals.tolist() == [15, 0]


def test_a_class_without_objects_has_no_recall(measured):
    assert np.isnan(measured.of_class(2, 0.5)).all()
    stored = measured.to_json()
    assert stored["recall"]["0.5"]["classes"]["cow"] == [None] * 9
    assert stored["recall"]["0.7"]["classes"]["dog"] == [1.0] * 9
    assert stored["numbers"] == [10, 20, 50, 100, 200, 500, 1000, 2000, "all"]
    assert stored["objects_of_class"] == {"cat": 2, "dog": 1, "cow": 0}


def boxes(least, most):
    side = st.integers(0, 30)
    box = st.tuples(side, side, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
    return st.lists(box, min_size=least, max_size=most)


@given(boxes(0, 4), boxes(0, 60))
def test_the_best_overlap_is_that_of_counting(objects, proposals):
    best = best_iou(np.array(objects).reshape(-1, 4), np.array(proposals).reshape(-1, 4))
    assert best.shape == (len(objects), len(NUMBERS) + 1)
    for row, box in zip(best, objects, strict=True):
        for value, number in zip(row, [*NUMBERS, len(proposals)], strict=True):
            wide = [one for one in proposals[:number] if _has_area(one) and _has_area(box)]
            assert value == pytest.approx(iou(wide, box).max(initial=0.0))


def _has_area(box):
    return box[2] > box[0] and box[3] > box[1]
