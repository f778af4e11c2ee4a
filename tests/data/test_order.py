"""The order of samples is arithmetic: checked for any number of shards, ranks and epochs."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.data.order import (
    EvaluationOrder,
    TrainingOrder,
    image_seeds,
    images_per_step,
)
from lit_detseg.structures import UserError
from tests.data.random_numbers import random_number

# With shards of one sample, and with empty ones.
SHARD_LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any).map(tuple)


@st.composite
def orders(draw):
    """Any order of training that is not refused, with every option."""
    lengths = draw(SHARD_LENGTHS)
    images = sum(lengths)
    of_each = {"min_size": images, "max_size": images}
    copies = st.lists(st.sampled_from([0, 0.3, 1, 1, 1.5, 2, 3.75]), **of_each).filter(any)
    options = {
        "seed": draw(st.integers(0, 2**63 - 1)),
        "shuffle_window": draw(st.integers(1, 6)),
        "accumulate": draw(st.integers(1, 3)),
        "companions": draw(st.integers(0, 3)),
        "copies": draw(st.none() | copies.map(np.array)),
        "groups": draw(st.none() | st.lists(st.integers(0, 1), **of_each).map(np.array)),
    }
    batch = draw(st.integers(1, 4)) * 12
    if draw(st.booleans()):
        batch = draw(st.integers(1, 3))
    try:
        return TrainingOrder(
            lengths, batch, tail=draw(st.sampled_from(["drop", "wrap"])), **options
        )
    except UserError:  # too few for a whole step
        return TrainingOrder(lengths, batch, tail="wrap", **options)


def epoch_of(order, epoch, ranks=1):
    """What all ranks together read in an epoch, rank after rank within each step."""
    steps = range(epoch * order.steps, (epoch + 1) * order.steps)
    slots = [order.slots(step, rank, ranks) for step in steps for rank in range(ranks)]
    return np.concatenate([part.samples for part in slots]), slots


def windows_of(order, epoch):
    """The window of each shard, `shuffle_window` shards in each, empty ones counted.

    From hashes worked out in Python's own integers.
    """
    shards = range(len(order.shard_lengths))
    ranked = sorted(shards, key=lambda shard: random_number(shard, order.seed, epoch, 1))
    places = np.empty(len(ranked), int)
    places[ranked] = np.arange(len(ranked)) // order.shuffle_window
    return places


@given(SHARD_LENGTHS, st.integers(0, 2**63 - 1), st.integers(0, 100), st.integers(1, 20))
def test_an_epoch_is_a_permutation_that_mixes_within_windows_of_shards(
    lengths, seed, epoch, window
):
    order = TrainingOrder(lengths, 1, seed, window)

    permutation = order.epoch(epoch)

    assert sorted(permutation) == list(range(sum(lengths)))
    shard_of = np.repeat(np.arange(len(lengths)), lengths)[permutation]
    windows = windows_of(order, epoch)[shard_of]
    assert (np.diff(windows) >= 0).all()  # one window after the other


@given(orders(), st.integers(0, 9))
def test_any_number_of_ranks_reads_the_same_global_order(order, epoch):
    alone, whole = epoch_of(order, epoch)

    for ranks in (ranks for ranks in (2, 3, 4, 6) if order.batch % ranks == 0):
        together, slots = epoch_of(order, epoch, ranks)
        np.testing.assert_array_equal(together, alone)
        assert {len(part.samples) for part in slots} == {order.batch // ranks}
        for field in ("seeds", *(["companions"] if order.companions else [])):
            pieces = [np.concatenate([getattr(p, field) for p in them]) for them in (slots, whole)]
            np.testing.assert_array_equal(*pieces)


@given(orders(), st.integers(0, 9))
def test_any_accumulation_shows_the_same_images_in_each_optimiser_step(order, epoch):
    total = order.images_per_optimiser_step
    alone = replace(order, batch=total, accumulate=1)
    assert order.steps == alone.steps * order.accumulate
    np.testing.assert_array_equal(epoch_of(order, epoch)[0], epoch_of(alone, epoch)[0])
    last = (epoch + 1) * order.steps - 1
    assert order.slots(last).step == alone.slots(last // order.accumulate).step
    assert order.slots(last).step == last // order.accumulate
    assert order.slots(last).run_seed == order.seed


@given(orders(), st.integers(0, 9))
def test_an_epoch_lists_the_promised_copies_and_shows_all_but_the_tail(order, epoch):
    seen, _ = epoch_of(order, epoch)

    shown = np.bincount(seen, minlength=order.num_samples)
    wanted = np.ones(order.num_samples) if order.copies is None else order.copies
    groups = np.zeros(order.num_samples, int) if order.groups is None else order.groups
    assert len(seen) == order.steps * order.batch == order.images_per_epoch - order.dropped
    if order.tail == "drop":
        assert (shown <= np.ceil(wanted)).all()
        listed = np.bincount(order.epoch(epoch), minlength=order.num_samples)
        assert (listed >= np.floor(wanted)).all()
        assert (listed <= np.ceil(wanted)).all()
        assert 0 <= order.dropped < len(set(groups)) * order.images_per_optimiser_step
    else:
        assert (shown >= np.floor(wanted)).all()
        assert 0 <= -order.dropped < len(set(groups)) * order.images_per_optimiser_step
    for group in set(groups):  # the sums are whole, and the same in every epoch
        total = wanted[groups == group].sum()
        of_group = shown[groups == group].sum()
        at_least, batch = int(np.ceil(total - 1e-6)), order.images_per_optimiser_step
        if order.groups is not None:
            whole = at_least // batch if order.tail == "drop" else -(-at_least // batch)
            assert of_group == whole * batch


@given(orders(), st.integers(0, 9))
def test_an_optimiser_step_shows_one_group(order, epoch):
    if order.groups is None:
        return
    groups = order.groups[epoch_of(order, epoch)[0]].reshape(-1, order.images_per_optimiser_step)
    assert (groups == groups[:, :1]).all()


@given(orders(), st.integers(0, 9))
def test_companions_come_from_the_window_of_their_image(order, epoch):
    if not order.companions:
        assert order.slots(0).companions is None
        return
    shard_of = np.repeat(np.arange(len(order.shard_lengths)), order.shard_lengths)
    seen, slots = epoch_of(order, epoch)
    companions = np.concatenate([part.companions for part in slots])
    assert companions.shape == (len(seen), order.companions)
    # The windows are those of the plain order: each image once, in one group.
    plain = TrainingOrder(
        order.shard_lengths, 1, order.seed, order.shuffle_window, copies=order.copies
    )
    window_of_shard = windows_of(plain, epoch)
    window_of_sample = window_of_shard[shard_of]
    assert (window_of_sample[companions] == window_of_sample[seen][:, None]).all()
    if order.copies is not None:
        assert (order.copies[companions] > 0).all()


@pytest.mark.parametrize("window", [2, 3])
def test_a_batch_of_one_group_draws_from_two_neighbouring_windows_at_most(window):
    """Where each window holds a whole batch of each group."""
    lengths, batch = (20,) * 12, 16
    groups = np.tile(np.arange(2), 120)  # ten of each group in each shard
    order = TrainingOrder(lengths, batch, shuffle_window=window, groups=groups)
    shard_of = np.repeat(np.arange(12), 20)
    for epoch in range(5):
        window_of_shard = windows_of(order, epoch)
        seen = epoch_of(order, epoch)[0].reshape(-1, batch)
        windows = window_of_shard[shard_of[seen]]
        assert (windows.max(axis=1) - windows.min(axis=1) <= 1).all()


@given(SHARD_LENGTHS, st.integers(1, 8), st.integers(1, 3), st.integers(0, 9))
def test_training_sees_the_positions_below_the_tail_exactly_once(lengths, batch, accumulate, epoch):
    images, total = sum(lengths), batch * accumulate
    if images < total:
        return
    order = TrainingOrder(lengths, batch, accumulate=accumulate)

    seen, _ = epoch_of(order, epoch)

    assert len(seen) == len(set(seen)) == images // total * total
    assert order.dropped == images % total
    np.testing.assert_array_equal(seen, order.epoch(epoch)[: len(seen)])


@given(SHARD_LENGTHS, st.integers(1, 40), st.integers(0, 9))
def test_wrapping_fills_the_last_step_with_the_first_positions(lengths, batch, epoch):
    order = TrainingOrder(lengths, batch, tail="wrap")

    seen, slots = epoch_of(order, epoch)

    assert len(seen) == order.steps * batch
    assert len(seen) - sum(lengths) == -order.dropped < batch
    np.testing.assert_array_equal(seen, np.resize(order.epoch(epoch), len(seen)))
    seeds = np.concatenate([part.seeds for part in slots])
    assert len(set(seeds)) == len(seeds)  # an image shown twice is augmented anew


@given(st.integers(1, 60), st.integers(1, 13), st.sampled_from([1, 2, 3, 4]))
def test_evaluation_sees_every_sample_exactly_once_on_any_number_of_ranks(images, batch, ranks):
    order = EvaluationOrder(images, batch)

    seen, slots = epoch_of(order, 0, ranks)

    assert seen.tolist() == list(range(images))
    assert len(slots) == order.steps * ranks  # as many steps on each rank
    for step in range(order.steps):
        lengths = [len(part.samples) for part in slots[step * ranks : (step + 1) * ranks]]
        assert max(lengths) - min(lengths) <= 1


@given(SHARD_LENGTHS, st.integers(0, 2**63 - 1), st.integers(0, 9), st.integers(1, 4))
def test_the_order_is_the_same_for_ever(lengths, seed, epoch, window):
    """Checkpoints outlive releases: if this fails, resumed runs see other images."""
    shards = sorted(range(len(lengths)), key=lambda s: random_number(s, seed, epoch, 1))
    first = np.cumsum([0, *lengths])
    expected = []
    for start in range(0, len(shards), window):
        samples = [n for s in shards[start : start + window] for n in range(first[s], first[s + 1])]
        expected += sorted(samples, key=lambda n: random_number(n, seed, epoch, 2))

    order = TrainingOrder(lengths, 1, seed, window)

    assert order.epoch(epoch).tolist() == expected
    seeds = [random_number(position, seed, epoch, 3) // 2 for position in range(3)]
    assert image_seeds(seed, epoch, np.arange(3)).tolist() == seeds


def test_epochs_and_seeds_differ():
    order = TrainingOrder((50, 50), 10)
    orders = [order.epoch(0), order.epoch(1), TrainingOrder((50, 50), 10, seed=1).epoch(0)]
    for one, other in [*pairwise(orders), (orders[0], orders[2])]:
        assert (one == other).mean() < 0.1


def test_image_seeds_are_of_the_position_not_of_the_rank():
    order = TrainingOrder((20,), 4, seed=3)
    _, alone = epoch_of(order, 2)
    _, shared = epoch_of(order, 2, ranks=2)

    seeds = np.concatenate([part.seeds for part in alone])

    np.testing.assert_array_equal(seeds, np.concatenate([part.seeds for part in shared]))
    np.testing.assert_array_equal(seeds, image_seeds(3, 2, np.arange(20)))
    assert len(set(seeds)) == 20
    assert (seeds >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"shard_lengths": ()}, "no image", id="no shard"),
        pytest.param({"shard_lengths": (0, 0)}, "no image", id="no sample"),
        pytest.param({"batch": 9}, "tail = wrap or a batch of at most 8", id="batch too large"),
        pytest.param({"batch": 3, "accumulate": 3}, "one batch of 9", id="accumulated too many"),
        pytest.param({"batch": 0}, "batch = 0 must be at least 1", id="no batch"),
        pytest.param({"shuffle_window": 0}, "shuffle_window = 0", id="no window"),
        pytest.param({"seed": -1}, "seed = -1", id="negative seed"),
        pytest.param({"companions": -1}, "companions = -1 must be at least 0", id="companions"),
        pytest.param({"copies": np.ones(7)}, r"copies has shape \(7,\).*8 images", id="few copies"),
        pytest.param({"copies": np.zeros(8)}, "asks for 0 to 0 copies", id="no copies"),
        pytest.param({"copies": -np.ones(8)}, "asks for -1 to -1", id="negative copies"),
        pytest.param({"copies": np.full(8, np.inf)}, "finite number from 0", id="endless copies"),
        pytest.param(
            {"groups": np.array([1, 0, 0, 0, 0, 0, 0, 0])},
            "lists 1 images of one orientation, fewer than one batch of 2.*at most 1, or no group",
            id="a group that fills no batch",
        ),
        pytest.param({"tail": "keep"}, "'keep' must be `drop` or `wrap`", id="unknown tail"),
    ],
)
def test_an_impossible_order_says_what_to_do(options, message):
    with pytest.raises(UserError, match=message):
        TrainingOrder(**{"shard_lengths": (4, 4), "batch": 2, **options})


def test_an_evaluation_of_nothing_is_refused():
    with pytest.raises(UserError, match="no image"):
        EvaluationOrder(0, 4)


def test_ranks_that_cannot_share_a_batch_are_told_which_batch_they_can():
    with pytest.raises(UserError, match=r"10 cannot be shared by 4 processes.*for example 8"):
        images_per_step(10, ranks=4)
    with pytest.raises(UserError, match=r"2 processes x 3 accumulated.*multiple of 6.*example 6"):
        images_per_step(4, ranks=2, accumulate=3)
    with pytest.raises(UserError, match="cannot be shared by 3"):
        TrainingOrder((8,), 4).slots(0, rank=0, ranks=3)
    assert images_per_step(24, ranks=4, accumulate=3) == 8
