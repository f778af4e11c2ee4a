"""The order of samples is arithmetic: checked for any number of shards, ranks and epochs."""

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

SHARD_LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(tuple)


def epoch_of(order, epoch, ranks=1):
    """What all ranks together read in an epoch, rank after rank within each step."""
    steps = range(epoch * order.steps, (epoch + 1) * order.steps)
    slots = [order.slots(step, rank, ranks) for step in steps for rank in range(ranks)]
    return np.concatenate([part.samples for part in slots]), slots


@given(SHARD_LENGTHS, st.integers(0, 2**63 - 1), st.integers(0, 100), st.integers(1, 20))
def test_an_epoch_is_a_permutation_that_mixes_within_windows_of_shards(
    lengths, seed, epoch, window
):
    order = TrainingOrder(lengths, 1, seed, window)

    permutation = order.epoch(epoch)

    assert sorted(permutation) == list(range(sum(lengths)))
    shard_of = np.repeat(np.arange(len(lengths)), lengths)[permutation]
    at = 0
    seen: set[int] = set()
    while at < len(permutation):  # each window holds `window` whole shards (the last one fewer)
        shards = set()
        while at < len(permutation) and (shard_of[at] in shards or len(shards) < window):
            shards.add(int(shard_of[at]))
            at += 1
        assert not shards & seen
        seen |= shards


@given(SHARD_LENGTHS, st.integers(0, 9), st.integers(1, 4), st.sampled_from(["drop", "wrap"]))
def test_any_number_of_ranks_reads_the_same_global_order(lengths, epoch, scale, tail):
    batch = 12 * scale
    order = TrainingOrder(lengths, batch, tail="wrap" if sum(lengths) < batch else tail)

    alone, _ = epoch_of(order, epoch)

    for ranks in (2, 3, 4, 6):
        together, slots = epoch_of(order, epoch, ranks)
        np.testing.assert_array_equal(together, alone)
        assert {len(part.samples) for part in slots} == {batch // ranks}


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


def splitmix64(state):
    """Vigna's splitmix64.c: the output that follows a state, in Python's own integers."""
    mixed = (state + 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return mixed ^ (mixed >> 31)


def random_number(number, seed, epoch, stream):
    state = 0
    for part in (seed, epoch, stream):
        state = splitmix64((state + part) % 2**64)
    return splitmix64((state + splitmix64(number)) % 2**64)


def test_splitmix64_gives_the_published_numbers():
    assert splitmix64(1234567) == 6457827717110365317
    assert splitmix64(1234567 + 0x9E3779B97F4A7C15) == 3203168211198807973


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


def test_every_position_is_reached_by_every_sample_equally_often():
    order = TrainingOrder((2, 2), 1, shuffle_window=2)
    places = np.stack([np.argsort(order.epoch(epoch)) for epoch in range(2000)])
    for sample in range(4):
        counts = np.bincount(places[:, sample], minlength=4)
        assert abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)  # 5 standard deviations


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
