"""torchmetrics' metric behind our contract."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryAccuracy
from torchmetrics.detection import MeanAveragePrecision

from lit_detseg.metrics.coco_ap import CocoAveragePrecision
from lit_detseg.metrics.torchmetrics_map import as_detection_metric
from lit_detseg.structures import UserError
from tests.metrics.drawn import DrawnImage, random_images, update
from tests.metrics.ranks import count_collectives, results_of_ranks

CLASSES = ("cat", "dog", "cow", "unicorn")


def both_metrics(**options):
    metrics = as_detection_metric(MeanAveragePrecision(**options)), CocoAveragePrecision()
    for metric in metrics:
        metric.class_names = CLASSES
    return metrics


def test_our_metrics_are_returned_as_they_are():
    metric = CocoAveragePrecision()
    assert as_detection_metric(metric) is metric


def test_another_metric_is_refused():
    with pytest.raises(UserError, match="BinaryAccuracy does not score detections"):
        as_detection_metric(BinaryAccuracy())


def test_a_mask_metric_is_refused():
    with pytest.raises(UserError, match="iou_type=..segm"):
        as_detection_metric(MeanAveragePrecision(iou_type="segm"))


def test_with_exact_recall_thresholds_it_agrees_with_ours():
    theirs, ours = both_metrics(class_metrics=True, rec_thresholds=np.linspace(0, 1, 101).tolist())
    images = random_images(0, count=20)
    update(theirs, images)
    update(ours, images)

    scores, expected = theirs.compute(), ours.compute()

    assert scores.keys() == expected.keys()
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6, equal_nan=True)
    assert scores["map_unicorn"].isnan()
    assert theirs.num_images == 20


def test_its_default_recall_thresholds_lose_a_step():
    """Six cats of ten are found: a recall of 0.6, and 0.6 is larger than that in float32."""
    cats = [[x, 0, x + 20, 20] for x in range(0, 500, 50)]
    image = DrawnImage(
        "a",
        [(box, 0, 0.9) for box in cats[:6]],
        [(box, 0, 400.0, False, False) for box in cats],
    )
    theirs, ours = both_metrics()
    update(theirs, [image])
    update(ours, [image])

    assert ours.compute()["map"].item() == pytest.approx(61 / 101)  # recalls 0, 0.01, ..., 0.6
    assert theirs.compute()["map"].item() == pytest.approx(60 / 101)


def test_a_single_class_keeps_its_name_and_undefined_is_nan():
    theirs, _ = both_metrics(class_metrics=True)
    update(theirs, [DrawnImage("a", [], [([0, 0, 20, 20], 1, 400.0, False, False)])])

    scores = theirs.compute()

    assert scores["map_dog"] == 0
    assert scores["map_cat"].isnan()
    assert scores["map_large"].isnan()


def test_reset_forgets_and_a_repeated_image_counts_once():
    theirs, ours = both_metrics()
    images = random_images(1, count=5)
    update(theirs, random_images(2, count=5))
    theirs.reset()
    update(theirs, images)
    update(theirs, images)
    once = as_detection_metric(MeanAveragePrecision())
    update(once, images)

    assert theirs.compute()["map"] == once.compute()["map"]
    assert theirs.num_images == 5


def collectives_on_a_rank(rank):
    counter, spent = count_collectives(), []
    metric, _ = both_metrics()
    for image in random_images(rank, count=2, prefix=f"of_rank_{rank}"):
        update(metric, [image])
        counter.clear()
        metric.compute()
        spent.append(counter.total())
    return {"images": metric.num_images, "spent": spent}


def test_it_spends_collectives_on_every_image(tmp_path):
    for result in results_of_ranks(collectives_on_a_rank, world_size=2, folder=tmp_path):
        assert result["images"] == 4
        assert result["spent"] == [2 + 21, 2 + 2 * 21]  # ours are the two that count images


def test_forward_is_refused():
    metric, _ = both_metrics()
    with pytest.raises(NotImplementedError, match="Call `update`"):
        metric([], [])
