"""VOC's mean average precision against a plain transcription of the kit's rules."""

import numpy as np
import pytest
from hypothesis import given, settings

from lit_detseg.metrics.voc_ap import VocAveragePrecision
from lit_detseg.structures import UserError
from tests.metrics.drawn import NUM_CLASSES, DrawnImage, image_sets, random_images, update

CLASSES = ("cat", "dog", "cow")


def voc_metric(interpolation="11_point", iou_threshold=0.5):
    metric = VocAveragePrecision(interpolation, iou_threshold)
    metric.class_names = CLASSES
    return metric


def inclusive_iou(box, other):
    """The kit's: corners are pixels that belong to the box, counted from 1."""
    x1, y1, x2, y2 = box[0] + 1, box[1] + 1, box[2], box[3]
    u1, v1, u2, v2 = other[0] + 1, other[1] + 1, other[2], other[3]
    width = max(min(x2, u2) - max(x1, u1) + 1, 0)
    height = max(min(y2, v2) - max(y1, v1) + 1, 0)
    union = (x2 - x1 + 1) * (y2 - y1 + 1) + (u2 - u1 + 1) * (v2 - v1 + 1) - width * height
    return width * height / union


def judged_by_the_kit(images, label, threshold):
    """+1 right, -1 wrong, 0 not counted, for each detection, best first; and the objects sought."""
    images = sorted(images, key=lambda image: image.image_id)
    found = [
        (score, image.image_id, box)
        for image in images
        for box, its_label, score in image.found
        if its_label == label
    ]
    objects = {
        image.image_id: [
            {"box": box, "difficult": difficult, "taken": False}
            for box, its_label, _, _, difficult in image.objects
            if its_label == label
        ]
        for image in images
    }
    verdicts = []
    for _, image_id, box in sorted(found, key=lambda one: -one[0]):
        candidates = objects[image_id]
        overlaps = [inclusive_iou(box, candidate["box"]) for candidate in candidates]
        best = int(np.argmax(overlaps)) if overlaps else None
        if best is None or not overlaps[best] > threshold:
            verdicts.append(-1)
        elif candidates[best]["difficult"]:
            verdicts.append(0)
        else:
            verdicts.append(-1 if candidates[best]["taken"] else 1)
            candidates[best]["taken"] = True
    sought = [one for some in objects.values() for one in some if not one["difficult"]]
    return np.array(verdicts), len(sought)


def ap_of_the_kit(verdicts, sought, interpolation):
    if not sought:
        return np.nan
    hits, misses = np.cumsum(verdicts == 1), np.cumsum(verdicts == -1)
    recall = hits / sought
    precision = hits / np.maximum(hits + misses, np.finfo(np.float64).eps)
    if interpolation == "11_point":
        return sum(
            max(precision[recall >= least], default=0) / 11 for least in np.arange(0.0, 1.1, 0.1)
        )
    recall, precision = [0, *recall, 1], [0, *precision, 0]
    return sum((recall[i] - recall[i - 1]) * max(precision[i:]) for i in range(1, len(recall)))


def assert_equals_the_kit(images, interpolation, threshold):
    metric = voc_metric(interpolation, threshold)
    update(metric, images[::-1])

    scores = metric.compute()

    expected = [
        ap_of_the_kit(*judged_by_the_kit(images, label, threshold), interpolation)
        for label in range(NUM_CLASSES)
    ]
    ours = [scores[f"map_{name}"].item() for name in CLASSES]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-14)
    assert metric.num_images == len(images)


@pytest.mark.parametrize("interpolation", ["11_point", "area"])
@settings(max_examples=100, deadline=None)
@given(images=image_sets)
def test_every_class_is_the_kits(interpolation, images):
    assert_equals_the_kit(images, interpolation, threshold=0.5)


@pytest.mark.parametrize("interpolation", ["11_point", "area"])
def test_realistic_images_over_several_chunks(interpolation):
    assert_equals_the_kit(random_images(0, count=150), interpolation, threshold=0.3)


def cat(*box, difficult=False):
    return list(box), 0, 400.0, False, difficult


def test_a_second_detection_of_the_same_object_is_wrong():
    image = DrawnImage(
        "a",
        found=[([0, 0, 20, 20], 0, 0.9), ([0, 0, 20, 19], 0, 0.8), ([50, 0, 70, 20], 0, 0.7)],
        objects=[cat(0, 0, 20, 20), cat(50, 0, 70, 20)],
    )
    eleven_point, area = voc_metric("11_point"), voc_metric("area")
    update(eleven_point, [image])
    update(area, [image])

    # Right, wrong, right: recall 1/2 at precision 1, recall 1 at precision 2/3.
    assert eleven_point.compute()["map"].item() == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert area.compute()["map"].item() == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_difficult_objects_are_neither_sought_nor_wrong_to_find():
    image = DrawnImage(
        "a",
        found=[([50, 0, 70, 20], 0, 0.9), ([50, 0, 70, 20], 0, 0.8), ([0, 0, 20, 20], 0, 0.7)],
        objects=[cat(0, 0, 20, 20), cat(50, 0, 70, 20, difficult=True)],
    )
    metric = voc_metric()
    update(metric, [image])

    assert metric.compute()["map"].item() == pytest.approx(1, abs=1e-15)


def test_an_overlap_of_exactly_the_threshold_is_not_enough():
    image = DrawnImage("a", [([0, 0, 20, 10], 0, 0.9)], [cat(0, 0, 20, 20)])
    metric = voc_metric()
    update(metric, [image])

    assert metric.compute()["map"] == 0


def test_the_mean_leaves_out_classes_without_objects():
    image = DrawnImage("a", [([0, 0, 20, 20], 0, 0.9)], [cat(0, 0, 20, 20)])
    metric = voc_metric("area", iou_threshold=0.7)
    update(metric, [image])

    scores = metric.compute()

    assert list(scores) == ["map", "map_70", "map_cat", "map_dog", "map_cow"]
    assert scores["map"] == scores["map_70"] == 1
    assert scores["map_dog"].isnan()


def test_a_threshold_outside_of_0_and_1_is_refused():
    with pytest.raises(UserError, match="iou_threshold is 50"):
        VocAveragePrecision("area", iou_threshold=50)
