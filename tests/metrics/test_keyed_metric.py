"""One rank or several, few images or many: the same numbers, the same number of collectives."""

import pickle

import pytest
import torch
import torch.distributed as dist

from lit_detseg.metrics.coco_ap import CocoAveragePrecision
from lit_detseg.metrics.voc_ap import VocAveragePrecision
from tests.metrics.drawn import random_images, update
from tests.metrics.ranks import count_collectives, results_of_ranks

IMAGES = random_images(0, count=8)
MANY_IMAGES = random_images(1, count=300, most_found=10, prefix="more")
# Which images each rank sees. Rank 1 of three sees none, and image 0 is seen on two ranks.
SHARES = {2: [IMAGES[:7], IMAGES[6:]], 3: [IMAGES[:5], [], [*IMAGES[5:], IMAGES[0]]]}


def new_metrics():
    metrics = {"coco": CocoAveragePrecision(), "voc": VocAveragePrecision("11_point")}
    for metric in metrics.values():
        metric.class_names = ("cat", "dog", "cow")
    return metrics


def life_of_a_metric(metric, share, many, counter):
    """Everything a trainer does with a metric, and the collectives that it costs."""
    update(metric, share)
    counter.clear()
    few_scores, few_collectives = metric.compute(), counter.total()
    again, again_collectives = metric.compute(), counter.total() - few_collectives
    few_images = metric.num_images
    update(metric, many)
    counter.clear()
    all_scores, many_collectives = metric.compute(), counter.total()
    all_images = metric.num_images
    metric.reset()
    update(metric, share)
    return {
        "scores": few_scores,
        "scores again": again,
        "scores of all": all_scores,
        "scores after reset": metric.compute(),
        "images": (few_images, all_images),
        "collectives": (few_collectives, again_collectives, many_collectives),
    }


def life_on_a_rank(rank):
    counter = count_collectives()
    world_size = dist.get_world_size()
    many = {0: MANY_IMAGES[:1], world_size - 1: MANY_IMAGES[1:]}.get(rank, [])
    return {
        name: life_of_a_metric(metric, SHARES[world_size][rank], many, counter)
        for name, metric in new_metrics().items()
    }


@pytest.fixture(scope="module", params=[2, 3], ids=["2 ranks", "3 ranks"])
def lives(request, tmp_path_factory):
    return results_of_ranks(life_on_a_rank, request.param, tmp_path_factory.mktemp("ranks"))


def scores_of(name, images):
    metric = new_metrics()[name]
    update(metric, images)
    return metric.compute()


def assert_same(scores, expected):
    torch.testing.assert_close(scores, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_ranks_agree_on_the_numbers_of_one_rank_to_the_last_bit(lives, name):
    for life in lives:
        assert_same(life[name]["scores"], scores_of(name, IMAGES))
        assert_same(life[name]["scores of all"], scores_of(name, IMAGES + MANY_IMAGES))
        assert_same(life[name]["scores after reset"], scores_of(name, IMAGES))
        assert life[name]["images"] == (8, 308)


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_two_collectives_whatever_the_number_of_images(lives, name):
    for life in lives:
        assert life[name]["collectives"] == (2, 0, 2)
        assert_same(life[name]["scores again"], life[name]["scores"])


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_a_metric_can_be_pickled_and_goes_on(name):
    metric = new_metrics()[name]
    update(metric, IMAGES[:3])

    revived = pickle.loads(pickle.dumps(metric))
    update(revived, IMAGES[3:])

    assert_same(revived.compute(), scores_of(name, IMAGES))


def test_moving_the_metric_leaves_its_rows_and_keeps_them_out_of_checkpoints():
    metric = new_metrics()["coco"]
    update(metric, IMAGES)

    metric.to("meta").half()  # a device that would lose all values

    assert_same(metric.compute(), scores_of("coco", IMAGES))
    assert metric.state_dict() == {}


def test_forward_scores_the_batch_and_keeps_it():
    metric = new_metrics()["coco"]
    update(metric, IMAGES[:4])
    rest = IMAGES[4:]

    of_batch = metric([image.detections() for image in rest], [image.target() for image in rest])

    assert_same(of_batch, scores_of("coco", rest))
    assert_same(metric.compute(), scores_of("coco", IMAGES))
