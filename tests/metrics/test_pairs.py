"""Rows of many images, and their pairs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from lit_detseg.metrics.pairs import (
    NOTHING_FOUND,
    NOTHING_TRUE,
    Found,
    Truth,
    best_first,
    box_iou,
    judge_in_chunks,
    mask_iou,
    pairs_of_groups,
    take,
)
from lit_detseg.metrics.voc_matching import match_voc

groups = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12)


def found_in(image_and_label, scores=None, boxes=None):
    image, label = np.array(image_and_label, dtype=np.int64).reshape(-1, 2).T
    boxes = np.zeros((len(image), 4)) if boxes is None else np.array(boxes, dtype=np.float64)
    scores = np.zeros(len(image)) if scores is None else np.array(scores)
    return Found(image, label, scores, boxes, boxes[:, 2] * boxes[:, 3])


def truth_in(image_and_label, boxes=None, is_crowd=None):
    found = found_in(image_and_label, boxes=boxes)
    no = np.zeros(len(found.image), dtype=bool)
    crowd = no if is_crowd is None else np.array(is_crowd)
    return Truth(found.image, found.label, found.shape, found.area, crowd, no)


@given(groups, groups)
def test_pairs_are_of_one_class_in_one_image_and_complete(detections, objects):
    detection, target = pairs_of_groups(found_in(detections), truth_in(objects))

    expected = [
        (d, t)
        for d, group in enumerate(detections)
        for t, other in enumerate(objects)
        if group == other
    ]
    assert list(zip(detection.tolist(), target.tolist(), strict=True)) == expected


@given(groups, st.data())
def test_best_first_ranks_each_group_and_keeps_the_order_of_equals(detections, data):
    scores = data.draw(
        st.lists(st.sampled_from([0.25, 0.5]), min_size=len(detections), max_size=len(detections))
    )
    rows = found_in(detections, scores)
    rows = rows._replace(area=np.arange(len(detections), dtype=np.float64))  # to tell them apart

    ordered, rank = best_first(rows)

    expected = sorted(range(len(detections)), key=lambda i: (*detections[i], -scores[i]))
    assert ordered.area.tolist() == expected
    position = {}
    for row, (image, label) in enumerate(zip(ordered.image, ordered.label, strict=True)):
        position[image, label] = position.get((image, label), -1) + 1
        assert rank[row] == position[image, label]


def test_box_iou_by_hand():
    found = found_in([(0, 0)], boxes=[[0, 0, 10, 10]])
    others = [[0, 0, 10, 20], [5, 5, 10, 10], [5, 5, 10, 10], [10, 0, 10, 10]]
    truth = truth_in([(0, 0)] * 4, others, is_crowd=[False, False, True, False])

    iou = box_iou(found, truth, np.zeros(4, dtype=np.int64), np.arange(4))

    # Half; a quarter of each; a quarter of the detection, which is all that counts; no overlap.
    assert iou.tolist() == [100 / 200, 25 / 175, 25 / 100, 0]


def test_masks_of_boxes_have_the_iou_of_the_boxes():
    generator = np.random.default_rng(0)
    boxes = generator.integers(1, 20, size=(12, 4)).astype(np.float64)
    found = found_in([(0, 0)] * 6, boxes=boxes[:6])
    truth = truth_in([(0, 0)] * 6, boxes[6:], is_crowd=[True, False] * 3)
    detection, target = pairs_of_groups(found, truth)

    of_masks = mask_iou(
        found._replace(shape=masks_of(found.shape)),
        truth._replace(shape=masks_of(truth.shape)),
        detection,
        target,
    )

    np.testing.assert_allclose(of_masks, box_iou(found, truth, detection, target), atol=1e-15)


def masks_of(boxes):
    masks = np.empty(len(boxes), dtype=object)
    for row, (x, y, width, height) in enumerate(boxes.astype(int)):
        pixels = np.zeros((40, 40), dtype=np.uint8, order="F")
        pixels[y : y + height, x : x + width] = 1
        masks[row] = mask.encode(pixels)
    return masks


def test_chunks_change_nothing():
    generator = np.random.default_rng(0)
    where = np.stack([generator.integers(0, 300, 900), generator.integers(0, 2, 900)], axis=1)
    boxes = generator.integers(1, 9, size=(900, 4))
    found = found_in(where[:600], generator.random(600), boxes[:600])
    truth = truth_in(where[600:], boxes[600:])

    in_chunks, sought = judge_in_chunks(match_voc, found, truth, num_images=300)
    at_once, _ = match_voc(found, truth)

    for ours, theirs in zip(in_chunks, at_once, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(sought.image) == 300
    assert at_once.is_match.any()


def test_no_images_are_no_error():
    matches, sought = judge_in_chunks(match_voc, NOTHING_FOUND, NOTHING_TRUE, num_images=0)
    assert len(matches.image) == len(sought.image) == 0
    assert len(take(matches, slice(0, 5)).score) == 0
