"""Epochs are shuffled well, copies listed as promised, and groups keep to themselves."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.data.epoch_order import (
    UNIT,
    batches_of_one_group,
    companions_of,
    copies_of_epoch,
    epoch_order,
    whole_units,
)
from lit_detseg.data.order import TrainingOrder
from lit_detseg.structures import UserError
from tests.data.random_numbers import random_number

COPIES = st.lists(st.floats(0, 20) | st.integers(0, 5).map(float), min_size=1, max_size=40).filter(
    lambda copies: sum(copies) > 0.01
)


@given(COPIES, st.integers(1, 3), st.integers(0, 9))
def test_sums_become_whole_without_lifting_any_image_above_its_next_whole_number(
    copies, groups, epoch
):
    copies, groups = np.array(copies), np.arange(len(copies)) % groups

    units = whole_units(copies, groups)
    listed = copies_of_epoch(units, groups, 0, epoch)

    exact = copies * UNIT
    assert (units > exact - 1).all()
    assert (units <= np.ceil(copies) * UNIT).all()
    for group in set(groups):
        total = units[groups == group].sum()
        assert total % UNIT == 0
        assert total - exact[groups == group].sum() < UNIT
        assert listed[groups == group].sum() == total // UNIT
    assert (listed >= units // UNIT).all()
    assert (listed <= -(-units // UNIT)).all()


def test_what_rounding_up_adds_is_spread_evenly():
    """Of 1.5 + 3 x 1.25 + 2 = 7.25 copies, 0.75 are missing, and the room to whole numbers is 2.75:
    an image with room r gets r x 0.75 / 2.75."""
    copies = np.array([1.5, 1.25, 1.25, 2.0, 1.25])
    units = whole_units(copies, np.zeros(5, int))
    expected = copies + np.array([0.5, 0.75, 0.75, 0, 0.75]) * 0.75 / 2.75
    np.testing.assert_allclose(units / UNIT, expected, atol=1e-6)
    assert units[3] == 2 * UNIT


@pytest.mark.parametrize("images", [3, 30, 30_000])
@pytest.mark.parametrize("copies", [1 / 3, 2 / 3, 5 / 3, 0.1 + 0.2 + 1e-16 + 0.7])
def test_a_sum_that_is_whole_gets_no_copy_more(images, copies):
    units = whole_units(np.full(images, copies), np.zeros(images, int))
    assert units.sum() == round(images * copies) * UNIT


def test_copies_are_listed_as_often_as_promised_over_the_epochs():
    copies = np.array([1, 2.3, 0.2, 1.5, 4])  # 9 in all
    groups = np.array([0, 1, 1, 1, 0])  # 5 and 4
    units, epochs = whole_units(copies, groups), 4000
    listed = np.mean([copies_of_epoch(units, groups, 1, e) for e in range(epochs)], axis=0)
    spread = np.sqrt((copies % 1) * (1 - copies % 1) / epochs)
    assert (abs(listed - copies) <= 5 * spread).all()


@given(COPIES, st.integers(0, 2**63 - 1), st.integers(0, 99))
def test_copies_and_companions_are_the_same_for_ever(copies, seed, epoch):
    """As `test_the_order_is_the_same_for_ever`: laid end to end and picked, in whole numbers."""
    images = len(copies)
    units = whole_units(np.array(copies), np.zeros(images, int))
    picks = range(random_number(0, seed, epoch, 6) % UNIT, int(units.sum()), UNIT)
    ends, expected = 0, [0] * images
    for image in sorted(range(images), key=lambda image: random_number(image, seed, epoch, 5)):
        begins, ends = ends, ends + int(units[image])
        expected[image] = sum(begins <= pick < ends for pick in picks)

    listed = copies_of_epoch(units, np.zeros(images, int), seed, epoch)

    assert listed.tolist() == expected
    order = epoch_order((images,), seed, epoch, 1, listed)
    numbers = [
        number for number in range(images * 30) if number // images < listed[number % images]
    ]
    numbers.sort(key=lambda number: random_number(number, seed, epoch, 2))
    assert order.samples.tolist() == [number % images for number in numbers]
    drawn = [random_number(7, seed, epoch, 4, k) % len(numbers) for k in range(2)]
    found = companions_of(order, seed, epoch, np.array([7]), 2)
    assert found.tolist() == [[numbers[place] % images for place in drawn]]


def test_copies_of_an_image_are_shuffled_apart():
    """Ten copies each of 100 images: two in a row by chance only, 9 of 999 times."""
    order = epoch_order((50, 50), 0, 0, 2, np.full(100, 10)).samples
    assert np.bincount(order).tolist() == [10] * 100
    assert abs((np.diff(order) == 0).sum() - 9) < 5 * 3


@pytest.mark.parametrize("copies", [[np.nan, 1], [np.inf, 1], [-1.0, 5], [0.0, 0]])
def test_copies_that_cannot_be_counted_are_refused(copies):
    with pytest.raises(UserError, match="finite number from 0"):
        whole_units(np.array(copies), np.zeros(2, int))


def buffered(groups, batch, wrap):
    """A buffer for each group, member by member, as detectron2's loader does it."""
    buffers, places, left = {}, [], []
    for place, group in enumerate(groups):
        buffers.setdefault(group, []).append(place)
        if len(buffers[group]) == batch:
            places += buffers.pop(group)
    for group in sorted(buffers):
        if wrap:
            first = [place for place, other in enumerate(groups) if other == group]
            whole = len(first) - len(buffers[group])
            places += [first[(whole + n) % len(first)] for n in range(batch)]
        else:
            left += buffers[group]
    return places, left


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 7), st.booleans())
def test_batches_are_those_of_a_buffer_per_group(groups, batch, wrap):
    expected, left = buffered(groups, batch, wrap)
    places = batches_of_one_group(np.array(groups), batch, wrap).tolist()
    assert places[: len(expected)] == expected
    assert places[len(expected) :] == left


def test_grouping_worked_out_by_hand():
    groups = np.array([0, 1, 0, 0, 1, 0, 0])  # batches of 2: (0 2), (1 4), (3 5); 6 is left
    assert batches_of_one_group(groups, 2, wrap=False).tolist() == [0, 2, 1, 4, 3, 5, 6]
    assert batches_of_one_group(groups, 2, wrap=True).tolist() == [0, 2, 1, 4, 3, 5, 6, 0]


def test_companions_behind_the_last_position_are_others():
    listed = epoch_order((30, 30), 0, 0, 1)
    first = companions_of(listed, 0, 0, np.arange(60), 1)
    again = companions_of(listed, 0, 0, np.arange(60, 120), 1)
    assert (first == again).mean() < 0.2  # by chance, 1 of 30
    assert (first // 30 == again // 30).all()


def test_fewer_companions_are_the_first_of_more():
    two, three = (TrainingOrder((9, 9), 6, companions=count).slots(4) for count in (2, 3))
    np.testing.assert_array_equal(two.companions, three.companions[:, :2])


def test_companions_are_drawn_as_often_as_they_are_listed():
    copies = np.array([1.0, 3.0, 0.0, 2.0])
    order = TrainingOrder((2, 2), 6, companions=4, copies=copies)
    drawn = np.concatenate([order.slots(step).companions.ravel() for step in range(1000)])
    counts = np.bincount(drawn, minlength=4)
    expected = 24000 * copies / 6
    spread = np.sqrt(24000 * copies / 6 * (1 - copies / 6))
    assert (abs(counts - expected) <= 5 * spread).all()
    assert counts[2] == 0


def test_a_single_image_is_its_own_companion():
    slots = TrainingOrder((1,), 2, tail="wrap", companions=3).slots(0)
    assert slots.companions.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_every_position_is_reached_by_every_sample_equally_often():
    order = TrainingOrder((2, 2), 1, shuffle_window=2)
    places = np.stack([np.argsort(order.epoch(epoch)) for epoch in range(2000)])
    for sample in range(4):
        counts = np.bincount(places[:, sample], minlength=4)
        assert abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)  # 5 standard deviations


def spearman(one, other):
    """The correlation of two permutations; of random ones 0 +- 1 / sqrt(N - 1)."""
    return np.corrcoef(one, other)[0, 1]


@pytest.mark.parametrize("epoch", range(5))
@pytest.mark.parametrize("window", [20, 99])
def test_one_window_shuffles_as_well_as_a_permutation_of_all_images(window, epoch):
    """Each figure within 5 standard deviations of what a permutation drawn at random has."""
    images = 2000
    order = TrainingOrder((100,) * 20, 1, shuffle_window=window).epoch(epoch)
    stored = np.arange(images)
    assert abs(spearman(order, stored)) < 5 / np.sqrt(images)
    moved = abs(order - stored).mean()  # images / 3; each image's has the deviation images / 18^.5
    assert abs(moved - images / 3) < 5 * images / np.sqrt(18 * images)
    neighbours = (abs(np.diff(order)) == 1).sum()  # 2 on average, Poisson
    assert neighbours <= 2 + 5 * np.sqrt(2)
    same_shard = (np.diff(order // 100) == 0).mean()
    assert abs(same_shard - 99 / 1999) < 5 * np.sqrt(0.05 / images)


@pytest.mark.parametrize("window", [1, 2, 4, 10])
def test_a_small_window_mixes_as_little_as_it_says(window):
    """Shards are permuted as wholes, and of w mixed shards every w-th neighbour is of one's own."""
    shards, length = 40, 50
    order = TrainingOrder((length,) * shards, 1, shuffle_window=window)
    places = [np.argsort(order.epoch(epoch)) for epoch in range(10)]
    for place in places:
        assert abs(spearman(place, np.arange(2000))) < 5 / np.sqrt(shards - 1)
    same = np.mean([(np.diff(order.epoch(epoch) // length) == 0).mean() for epoch in range(10)])
    assert abs(same - 1 / window) < 0.03
    inside = order.epoch(0)[: window * length]
    own = np.argsort(np.argsort(inside))  # within a window, a full shuffle
    assert abs(spearman(own, np.arange(len(own)))) < 5 / np.sqrt(len(own) - 1)


@pytest.mark.parametrize("window", [4, 40])
def test_one_epoch_says_nothing_about_the_next(window):
    order = TrainingOrder((50,) * 40, 1, shuffle_window=window)
    places = [np.argsort(order.epoch(epoch)) for epoch in range(6)]
    independent = 2000 if window == 40 else 40  # with small windows, shards move as wholes
    for one, other in combinations(places, 2):
        assert abs(spearman(one, other)) < 5 / np.sqrt(independent - 1)
