"""Memory that workers and the training process share: valid while it shows, reused afterwards."""

import gc
import os
import pickle
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_detseg.data.loading.batches import BatchReader
from lit_detseg.data.loading.handover import MOST_PIECES, SharedBatches, forget
from lit_detseg.data.loading.loader import StepLoader
from lit_detseg.data.order import EvaluationOrder, Slots
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.shards import ShardReader
from tests.data.proposals.sets import reader_of, write_numbered_proposals
from tests.data.shard_sets import raw_sample, write_numbered, write_shards

IMAGES = 60


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    """The red value of an image is its number."""
    folder = tmp_path_factory.mktemp("numbered") / "set"
    return BatchReader(ShardReader([write_numbered(folder, images=IMAGES)]))


def loader(batches, workers=1, **options):
    return StepLoader(batches, EvaluationOrder(IMAGES, 1), num_workers=workers, **options)


def numbers(read):
    return [int(batch.pixels[0, 0].float().mean()) for batch in read]


def open_files(process):
    return len(os.listdir(f"/proc/{process}/fd"))


def open_pieces():
    gc.collect()
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum("memfd:batch" in str(link.readlink()) for link in links)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_that_are_kept_stay_what_they_were(batches, workers):
    kept = list(loader(batches, workers))
    assert len(kept) > workers * MOST_PIECES
    assert numbers(kept) == list(range(IMAGES))


def test_one_view_of_the_pixels_keeps_them_over_epochs(batches):
    shared = loader(batches, persistent_workers=True)
    first = next(batch.pixels[0, 0] for batch in shared if batch.annotations.image_ids[0] == "0007")
    for _ in range(2):
        assert numbers(shared) == list(range(IMAGES))
    shared.close()
    assert first.tolist() == [[7] * 8] * 8


def test_batches_outlive_loader_and_workers(batches):
    shared = loader(batches)
    kept = list(shared)[-3:]
    shared.close()
    del shared
    gc.collect()
    assert numbers(kept) == [IMAGES - 3, IMAGES - 2, IMAGES - 1]


def test_two_iterations_at_a_time_do_not_meet(batches):
    shared = loader(batches)
    pairs = list(zip(shared, shared, strict=True))
    assert numbers(mine for mine, _ in pairs) == numbers(theirs for _, theirs in pairs)
    assert numbers(mine for mine, _ in pairs) == list(range(IMAGES))


def test_an_iteration_that_is_broken_off_leaves_the_next_one_whole(batches):
    shared = loader(batches, workers=2, persistent_workers=True)
    for batch in shared:
        assert batch.annotations.image_ids == ["0000"]
        break
    assert numbers(shared) == list(range(IMAGES))
    shared.close()


def test_an_iteration_leaves_no_open_files(batches):
    shared = loader(batches, workers=2)
    counts = []
    for _ in range(5):
        assert numbers(shared) == list(range(IMAGES))
        gc.collect()
        counts.append(open_files("self"))
    assert counts[1:] == [counts[1]] * 4  # the first one starts helpers of multiprocessing


def test_workers_that_stay_open_a_bounded_number_of_files(batches):
    shared = loader(batches, workers=2, persistent_workers=True)
    assert numbers(shared) == list(range(IMAGES))
    workers = [child.pid for child in active_children()]
    assert len(workers) == 2
    before = {worker: open_files(worker) for worker in workers}
    for _ in range(8):
        assert numbers(shared) == list(range(IMAGES))
    # Two descriptors a piece; how many pieces there are depends on how fast batches are taken.
    assert all(open_files(worker) <= before[worker] + 2 * MOST_PIECES for worker in workers)
    shared.close()


def test_annotations_alone_do_not_hold_the_pixels(batches):
    kept = [(batch.annotations, batch.sizes, batch.labels) for batch in loader(batches)]
    assert len(kept) == IMAGES
    assert open_pieces() == 0


def test_images_that_grow_find_room(tmp_path):
    sides = [8, 16, 9, 40, 80, 8, 120, 200, 7, 300]
    samples = [
        raw_sample(f"{n:02d}", np.full((side, side, 3), side % 256, np.uint8))
        for n, side in enumerate(sides)
    ]
    reader = ShardReader([write_shards(tmp_path / "set", samples)])
    order = EvaluationOrder(len(sides), 1)
    shared = StepLoader(BatchReader(reader), order, num_workers=1, persistent_workers=True)
    for _ in range(3):
        for side, batch in zip(sides, shared, strict=True):
            assert batch.pixels.shape == (1, 3, side, side)
            assert (batch.pixels == side % 256).all()
    assert open_pieces() == 4  # two that wait, two in use: those that were too small are gone
    del batch
    shared.close()
    assert open_pieces() == 0


def test_a_worker_that_is_not_forked_hands_over_too(batches):
    shared = loader(batches, multiprocessing_context="spawn")
    assert numbers(shared) == list(range(IMAGES))


def handed_over(shared, number):
    """A batch as if it had come from a worker, and the worker's view of its piece."""
    message = shared[Slots(np.array([number]), None)]
    # The descriptor is passed by the process itself here.
    function, (iteration, key, handle, *rest) = message.__reduce__()
    return function(iteration, key, handle, *rest), message.piece


def test_a_piece_is_free_again_when_the_last_tensor_is_gone(batches):
    shared = SharedBatches(batches)
    iteration = shared.start()
    batch, piece = handed_over(shared, 5)
    row = batch.pixels[0, 1, 3]
    assert piece.memory[0] == 1
    del batch
    assert piece.memory[0] == 1
    del row
    assert piece.memory[0] == 0
    forget(iteration)


def test_a_forked_process_does_not_give_a_piece_back(batches):
    shared = SharedBatches(batches)
    iteration = shared.start()
    batch, piece = handed_over(shared, 5)
    if (child := os.fork()) == 0:
        del batch
        os._exit(int(piece.memory[0] != 1))
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert piece.memory[0] == 1
    assert numbers([batch]) == [5]
    forget(iteration)


def test_what_goes_through_the_pipe_is_small(batches):
    """A worker can then end although nobody reads: a full pipe would hold it for ever."""
    shared = SharedBatches(batches)
    iteration = shared.start()
    handed_over(shared, 0)
    message = shared[Slots(np.arange(IMAGES), None)]
    message.piece.is_known = True  # a descriptor can only be pickled on its way to a process
    assert len(pickle.dumps(message)) < 1000
    forget(iteration)


def test_pixels_are_bytes_that_torch_may_write_to(batches):
    pixels = next(iter(loader(batches))).pixels
    pixels += 1
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    assert pixels[0, :, 0, 0].tolist() == [1, 1, 0]


def test_proposals_come_through_as_they_were_read(tmp_path):
    folder = write_numbered_proposals(tmp_path / "set", [3, 0, 1, 2, 5])
    reader = reader_of(folder)
    batches = BatchReader(reader, proposals=ProposalReader(reader, "numbered"))
    order = EvaluationOrder(5, 2)
    handed_over = StepLoader(batches, order, num_workers=1)
    for here, there in zip(StepLoader(batches, order), handed_over, strict=True):
        torch.testing.assert_close(there.proposals.boxes, here.proposals.boxes)
        assert there.proposals.counts.tolist() == here.proposals.counts.tolist()
    assert here.proposals.counts.tolist() == [5]
