"""Loaders read what the order says, with workers or without."""

import signal

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from lit_detseg.data.batches import BatchReader
from lit_detseg.data.loader import PositionedLoader, StepLoader
from lit_detseg.data.order import EvaluationOrder, TrainingOrder
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms import RandomHorizontalFlip, ResizeShortestSide
from lit_detseg.structures import UserError
from tests.data.shard_sets import write_numbered, write_shapes


def ids(loader):
    return [batch.annotations.image_ids for batch in loader]


def keys_of(order, reader, steps, rank=0, ranks=1):
    return [reader.keys[order.slots(step, rank, ranks).samples].tolist() for step in steps]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    return ShardReader([write_numbered(tmp_path_factory.mktemp("numbered") / "set", images=21)])


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_change_nothing_bit_for_bit(tmp_path, persistent):
    reader = ShardReader([write_shapes(tmp_path / "set", images=14)])
    order = TrainingOrder(reader.shard_lengths, 4)
    transforms = [ResizeShortestSide([40, 56], 80), RandomHorizontalFlip()]
    batches = BatchReader(reader, transforms, training=True)

    alone = PositionedLoader(batches, order)
    shared = PositionedLoader(batches, order, num_workers=2, persistent_workers=persistent)

    for _ in range(2):  # epochs
        pairs = list(zip(alone, shared, strict=True))
        assert len(pairs) == order.steps == 3
        for mine, theirs in pairs:
            for field, other in zip(mine[:5], theirs[:5], strict=True):
                assert field.dtype == other.dtype
                assert torch.equal(field, other)
            for field, other in zip(mine.annotations, theirs.annotations, strict=True):
                np.testing.assert_array_equal(field, other)
    shared.close()


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_evaluation_is_complete_each_time(numbered, ranks):
    order = EvaluationOrder(len(numbered), 5)
    loaders = [StepLoader(BatchReader(numbered), order, rank, ranks) for rank in range(ranks)]
    for _ in range(2):
        read = [ids(loader) for loader in loaders]
        assert {len(batches) for batches in read} == {5} == {len(loader) for loader in loaders}
        assert sorted(sum((sum(batches, []) for batches in read), [])) == numbered.keys.tolist()


def test_epochs_follow_each_other_in_different_order(numbered):
    order = TrainingOrder(numbered.shard_lengths, 4)
    loader = PositionedLoader(BatchReader(numbered), order)
    first, second = ids(loader), ids(loader)
    assert first == keys_of(order, numbered, range(5))
    assert second == keys_of(order, numbered, range(5, 10))
    assert first != second


def test_a_loader_goes_on_in_the_middle_of_an_epoch(numbered):
    order = TrainingOrder(numbered.shard_lengths, 4)
    left, resumed = (PositionedLoader(BatchReader(numbered), order) for _ in range(2))
    iterator = iter(left)
    for _ in range(3):
        next(iterator)

    resumed.load_state_dict(left.state_dict())

    assert left.state_dict() == {"step": 3}
    assert ids(resumed) == keys_of(order, numbered, range(3, 5))
    assert len(resumed) == 5  # of a whole epoch


def test_iterating_draws_no_global_random_number(numbered):
    loader = StepLoader(BatchReader(numbered), EvaluationOrder(21, 5))
    state = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_worker_passes_on_what_is_wrong_with_a_shard(tmp_path):
    folder = write_numbered(tmp_path / "set", images=8)
    (folder / "shard-000001.tar").unlink()
    loader = StepLoader(BatchReader(ShardReader([folder])), EvaluationOrder(8, 4), num_workers=1)
    with pytest.raises(UserError, match=r"shard-000001.tar cannot be opened"):
        list(loader)


class SignalHandlers(Dataset):
    """Says how a worker answers the scheduler's signals."""

    def __getitem__(self, slots):
        return [signal.getsignal(name) for name in (signal.SIGUSR1, signal.SIGUSR2)]


def test_workers_ignore_the_schedulers_signals():
    loader = StepLoader(SignalHandlers(), EvaluationOrder(1, 1), num_workers=1)
    assert list(loader) == [[signal.SIG_IGN, signal.SIG_IGN]]
