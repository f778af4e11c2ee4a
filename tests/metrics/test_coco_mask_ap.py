"""COCO's numbers of masks against pycocotools, on one rank and on several."""

import numpy as np
import pytest
import torch
import torch.distributed as dist

from lit_detseg.metrics.coco_mask_ap import CocoMaskAveragePrecision
from lit_detseg.structures import UserError
from tests.metrics.drawn_coco import (
    NAMES,
    SIZE,
    TWELVE,
    MaskedImage,
    pycocotools_evaluation,
    random_masked_images,
    update,
)
from tests.metrics.drawn_masks import rle
from tests.metrics.ranks import count_collectives, results_of_ranks

IMAGES = random_masked_images(0, count=9)
# Rank 1 of three sees none, and image 0 is seen on two ranks.
SHARES = {2: [IMAGES[:7], IMAGES[6:]], 3: [IMAGES[:5], [], [*IMAGES[5:], IMAGES[0]]]}


def new_metric():
    metric = CocoMaskAveragePrecision()
    metric.class_names = NAMES
    return metric


def scores_of(images):
    metric = new_metric()
    update(metric, images)
    return metric.compute()


def assert_same(scores, expected):
    torch.testing.assert_close(scores, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("seed", range(12))
def test_every_number_of_masks_and_of_boxes_is_pycocotools(seed):
    images = random_masked_images(seed, count=3 + 2 * seed)
    metric = new_metric()
    for image in images[::-1]:
        update(metric, [image])

    scores = metric.compute()

    of_kind = {"segm": (metric.curves, ""), "bbox": (metric.box_curves, "box_")}
    for kind, (curves, prefix) in of_kind.items():
        theirs = pycocotools_evaluation(images, kind)
        expected = np.where(theirs.stats == -1, np.nan, theirs.stats)
        ours = [scores[prefix + key] for key in TWELVE]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
        precision = theirs.eval["precision"][..., 2]
        np.testing.assert_array_equal(np.nan_to_num(curves.precision, nan=-1), precision)
    assert 0 < scores["map"] < 0.95
    assert scores["map"] != scores["box_map"]


def test_more_images_than_are_matched_at_a_time():
    images = random_masked_images(3, count=140)
    theirs = pycocotools_evaluation(images, "segm")
    ours = [scores_of(images)[key] for key in TWELVE]
    np.testing.assert_allclose(ours, theirs.stats, rtol=0, atol=1e-12)


def test_results_are_the_numbers_of_masks_of_boxes_and_of_the_classes():
    expected = [*TWELVE, *(f"box_{key}" for key in TWELVE), *(f"map_{name}" for name in NAMES)]
    scores = scores_of([])
    assert list(scores) == expected
    assert all(score.isnan() for score in scores.values())


def test_a_right_box_with_half_a_mask():
    """One cat of 20 x 20: its box is found exactly, but of its pixels only 16 of 20 columns."""
    cat, part = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    cat[10:30, 10:30], part[10:30, 10:26] = True, True
    box = [10.0, 10.0, 30.0, 30.0]
    image = MaskedImage("a", [(part, box, 0, 0.9)], [(rle(cat), box, 0, 400.0, False)])

    scores = scores_of([image])

    # IoU 0.8, which reaches the thresholds 0.50 to 0.80: seven of ten.
    assert scores["map"].item() == pytest.approx(0.7, abs=1e-12)
    assert scores["map_75"].item() == pytest.approx(1, abs=1e-12)
    assert scores["map_cat"] == scores["map"]
    assert scores["box_map"].item() == pytest.approx(1, abs=1e-12)
    assert scores["map_dog"].isnan()


def test_masks_without_a_pixel_overlap_nothing():
    nothing, box = np.zeros(SIZE, bool), [10.0, 10.0, 30.0, 30.0]
    image = MaskedImage("a", [(nothing, box, 0, 0.9)], [(rle(nothing), box, 0, 400.0, False)])
    scores = scores_of([image])
    assert (scores["map"], scores["mar_100"]) == (0, 0)
    assert scores["box_map"].item() == pytest.approx(1, abs=1e-12)


def life_on_a_rank(rank):
    counter = count_collectives()
    metric = new_metric()
    update(metric, SHARES[dist.get_world_size()][rank])
    counter.clear()
    scores, collectives = metric.compute(), counter.total()
    return {"scores": scores, "collectives": collectives, "images": metric.num_images}


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_agree_on_the_numbers_of_one_rank_to_the_last_bit(world_size, tmp_path):
    for life in results_of_ranks(life_on_a_rank, world_size, tmp_path):
        assert_same(life["scores"], scores_of(IMAGES))
        assert (life["images"], life["collectives"]) == (9, 2)


def test_forward_scores_the_batch_and_keeps_it():
    metric = new_metric()
    update(metric, IMAGES[:4])
    rest = IMAGES[4:]
    of_batch = metric([image.detections() for image in rest], [image.target() for image in rest])
    assert_same(of_batch, scores_of(rest))
    assert_same(metric.compute(), scores_of(IMAGES))


def test_detections_without_masks_say_which_metric_to_use():
    image = next(image for image in IMAGES if image.found)
    boxes = image.detections()._replace(masks=None)
    with pytest.raises(UserError, match="have no masks.*or a metric of boxes"):
        new_metric().update([boxes], [image.target()])
