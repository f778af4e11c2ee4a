"""Loaders read what the order says, with workers or without."""

import gc
import signal
from dataclasses import replace
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from lit_detseg.data.loading.batches import BatchReader, unpack_batch
from lit_detseg.data.loading.loader import PositionedLoader, StepLoader
from lit_detseg.data.order import EvaluationOrder, TrainingOrder
from lit_detseg.data.records import Object
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms import RandomHorizontalFlip, ResizeShortestSide
from lit_detseg.structures import UserError
from tests.data.shard_sets import raw_sample, write_numbered, write_shards


def write_masked(folder, images):
    """Images of 48 x 64 noise with polygons, run lengths and objects without a mask; some void."""
    drawn = np.random.default_rng(0)
    rle = {"size": [48, 64], "counts": "T6k0e" + "0" * 30 + "lQ2"}
    masks = ([[4.0, 4.0, 20.0, 6.0, 12.5, 30.25]], rle, None)
    samples = []
    for number in range(images):
        pixels = drawn.integers(256, size=(48, 64, 3), dtype=np.uint8)
        items = [
            Object((4.0, 4.0, 20.0, 31.0), label % 2, 100.0 + label, masks[label])
            for label in range(number % 4)
        ]
        sample = raw_sample(f"image{number:02d}", pixels, items)
        samples.append(replace(sample, void=rle if number % 3 == 0 else None))
    return write_shards(folder, samples)


def ids(loader):
    return [batch.annotations.image_ids for batch in loader]


def keys_of(order, reader, steps, rank=0, ranks=1):
    return [reader.keys[order.slots(step, rank, ranks).samples].tolist() for step in steps]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    return ShardReader([write_numbered(tmp_path_factory.mktemp("numbered") / "set", images=21)])


def assert_same(mine, theirs):
    """Batches that are equal to the last bit, fields of all depths."""
    assert type(mine) is type(theirs)
    if isinstance(mine, torch.Tensor):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)
    elif isinstance(mine, np.ndarray):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    elif isinstance(mine, tuple):
        for field, other in zip(mine, theirs, strict=True):
            assert_same(field, other)
    else:
        assert mine == theirs


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(("workers", "persistent"), [(1, False), (2, False), (2, True)])
def test_workers_change_nothing_bit_for_bit(tmp_path, workers, persistent, masks):
    reader = ShardReader([write_masked(tmp_path / "set", images=14)])
    order = TrainingOrder(reader.shard_lengths, 4)
    transforms = [ResizeShortestSide([40, 56], 80), RandomHorizontalFlip()]
    batches = BatchReader(reader, transforms, training=True, masks=masks)

    alone = PositionedLoader(batches, order)
    shared = PositionedLoader(batches, order, num_workers=workers, persistent_workers=persistent)

    for _ in range(2):  # epochs
        pairs = list(zip(alone, shared, strict=True))
        assert len(pairs) == order.steps == 3
        assert sum(len(mine.labels) for mine, _ in pairs) > 10
        for mine, theirs in pairs:
            assert (mine.masks is not None) is masks
            assert_same(mine, theirs)
    shared.close()


def test_evaluation_with_workers_hands_over_masks_and_void_regions(tmp_path):
    reader = ShardReader([write_masked(tmp_path / "set", images=5)])
    batches, order = BatchReader(reader, masks=True), EvaluationOrder(5, 2)
    read = list(StepLoader(batches, order, num_workers=2))
    for mine, theirs in zip(StepLoader(batches, order), read, strict=True):
        assert_same(mine, theirs)
    voids = [target.void for batch in read for target in unpack_batch(batch).targets]
    assert [void is not None for void in voids] == [True, False, False, True, False]


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


@pytest.mark.parametrize("batches_read", [1, 6])
def test_a_loader_that_nobody_closes_takes_its_workers_with_it(numbered, batches_read):
    others = set(active_children())
    order = EvaluationOrder(21, 4)
    loader = StepLoader(BatchReader(numbered), order, num_workers=2, persistent_workers=True)
    iterator = iter(loader)
    assert len([next(iterator) for _ in range(batches_read)]) == batches_read
    assert len(set(active_children()) - others) == 2

    gc.disable()  # nothing is left to it
    try:
        del iterator, loader
        assert set(active_children()) == others
    finally:
        gc.enable()


class SignalHandlers(Dataset):
    """Says how a worker answers the scheduler's signals."""

    def __getitem__(self, slots):
        return [signal.getsignal(name) for name in (signal.SIGUSR1, signal.SIGUSR2)]


def test_workers_ignore_the_schedulers_signals():
    loader = StepLoader(SignalHandlers(), EvaluationOrder(1, 1), num_workers=1)
    assert list(loader) == [[signal.SIG_IGN, signal.SIG_IGN]]
