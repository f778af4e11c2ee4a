"""Cityscapes' numbers as a metric: once per image, the same on any number of ranks."""

import pickle

import numpy as np
import pytest
import torch
import torch.distributed as dist

from lit_detseg.metrics.cityscapes_ap import CityscapesAveragePrecision
from lit_detseg.structures import UserError
from tests.metrics.drawn_masks import NUMBERS, THINGS, Scene, random_scenes, update
from tests.metrics.ranks import count_collectives, results_of_ranks

SCENES = random_scenes(0, count=10)
CAR = NUMBERS.index(26)
# Rank 1 of three sees no scene, and scene 0 is seen on two ranks.
SHARES = {2: [SCENES[:7], SCENES[6:]], 3: [SCENES[:5], [], [*SCENES[5:], SCENES[0]]]}


def new_metric():
    metric = CityscapesAveragePrecision()
    metric.class_names = tuple(THINGS)
    return metric


def scores_of(scenes):
    metric = new_metric()
    update(metric, scenes)
    return metric.compute()


def assert_same(scores, expected):
    torch.testing.assert_close(scores, expected, rtol=0, atol=0, equal_nan=True)


def one_car(found=True):
    ids = np.full((40, 60), 7, np.uint16)
    ids[:20, :20] = 26000
    return Scene("a", ids, [(ids == 26000, CAR, 0.75)] if found else [])


def test_one_car_found_exactly():
    scores = scores_of([one_car()])
    assert scores["map"] == scores["map_50"] == scores["map_car"] == scores["map_50_car"] == 1
    assert scores["map_person"].isnan()
    assert scores["map_50_person"].isnan()
    assert scores["map"].dtype == torch.float64


def test_results_are_the_averages_and_both_numbers_of_each_class():
    names = [*(f"map_50_{name}" for name in THINGS), *(f"map_{name}" for name in THINGS)]
    assert list(scores_of([])) == ["map", "map_50", *names]
    assert all(score.isnan() for score in scores_of([]).values())


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
        assert_same(life["scores"], scores_of(SCENES))
        assert (life["images"], life["collectives"]) == (10, 2)


def test_neither_the_order_of_images_nor_how_they_come_matters():
    metric = new_metric()
    for scene in SCENES[::-1]:
        update(metric, [scene])
    assert_same(metric.compute(), scores_of(SCENES))


def test_an_image_seen_twice_counts_once():
    metric = new_metric()
    update(metric, SCENES)
    update(metric, SCENES[::-1])
    assert_same(metric.compute(), scores_of(SCENES))
    assert metric.num_images == 10


def test_forward_scores_the_batch_and_keeps_it():
    metric = new_metric()
    update(metric, SCENES[:4])
    rest = SCENES[4:]

    of_batch = metric([scene.detections() for scene in rest], [scene.target() for scene in rest])

    assert_same(of_batch, scores_of(rest))
    assert_same(metric.compute(), scores_of(SCENES))


def test_what_is_kept_is_run_lengths_and_then_a_few_bytes():
    """One prediction of a million pixels: before and after it is judged."""
    ids = np.full((1000, 1000), 7, np.uint16)
    ids[100:900, 100:900] = 26000
    metric = new_metric()
    update(metric, [Scene("a", ids, [(ids == 26000, CAR, 0.5)] * 20)])
    assert len(pickle.dumps(metric)) < 200_000
    metric.compute()
    assert len(pickle.dumps(metric)) < 20_000


def test_a_prediction_without_pixels_is_none():
    scene = one_car()
    empty = (np.zeros_like(scene.ids, bool), CAR, 0.9)
    assert scores_of([scene._replace(found=[empty, *scene.found])])["map"] == 1


def test_where_the_script_fails_the_class_has_zero():
    """The car is missed, and the one prediction lies in void."""
    scene = one_car(found=False)
    scene.ids[25:, 30:] = 0
    scores = scores_of([scene._replace(found=[(scene.ids == 0, CAR, 0.5)])])
    assert scores["map_car"] == 0


def test_masks_of_another_size_are_refused():
    scene = one_car()
    with pytest.raises(UserError, match=r"In image a, a predicted mask has the size \(20, 30\)"):
        scores_of([scene._replace(found=[(np.ones((20, 30), bool), CAR, 0.5)])])


def test_a_class_called_50_car_does_not_overwrite_a_number():
    metric = CityscapesAveragePrecision()
    metric.class_names = ("car", "50_car")
    update(metric, [])
    assert list(metric.compute())[2:] == [
        *("map_50_car", "map_50_50_car", "map_car", "map_50_car_class"),
    ]
