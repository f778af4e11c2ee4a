"""What a node will read: the files of the next steps, in the order of first use, within a limit."""

import numpy as np
import pytest

from lit_detseg.data.order import EvaluationOrder, Slots, TrainingOrder
from lit_detseg.data.remote.lookahead import Lookahead, Stream
from lit_detseg.data.remote.urls import StoredFile

SHARD = 100  # bytes


def stream_of(order, shards, samples_per_shard=4, ranks_here=(0,), ranks=1, **fields):
    files = tuple(StoredFile(f"https://host/{n}.tar", SHARD, f"{n}", 4) for n in range(shards))
    shard_of = np.repeat(np.arange(shards), samples_per_shard)
    return Stream(files, fields.get("side_files", ()), shard_of, order, ranks_here, ranks)


def companion(number):
    return StoredFile(f"https://host/{number}.npy", SHARD // 2, f"{1000 + number}", 4)


def numbers(files):
    return [int(file.sha256) for file in files]


def order_of_first_use(stream, steps):
    samples = np.concatenate([stream.order.slots(step).samples for step in steps])
    return list(dict.fromkeys(stream.shard_of[samples].tolist()))


def test_evaluation_wants_the_shards_in_stored_order():
    lookahead = Lookahead(stream_of(EvaluationOrder(40, 2), shards=10), 3 * SHARD)
    assert numbers(lookahead.wanted(0)) == [0, 1, 2]
    assert numbers(lookahead.wanted(1)) == [0, 1, 2]
    assert numbers(lookahead.wanted(2)) == [1, 2, 3]
    assert numbers(lookahead.wanted(19)) == [9, 0, 1]  # the next evaluation
    assert numbers(lookahead.wanted(4)) == [2, 3, 4]  # back


@pytest.mark.parametrize("start", [0, 7, 23])
def test_training_wants_what_comes_first_in_the_epochs_order(start):
    order = TrainingOrder((4,) * 12, batch=4, shuffle_window=3, seed=5)
    stream = stream_of(order, shards=12)
    lookahead = Lookahead(stream, 6 * SHARD)
    for step in range(start, start + 30):
        wanted = numbers(lookahead.wanted(step))
        assert len(wanted) <= 6
        assert set(wanted) == set(order_of_first_use(stream, range(step, step + 60))[: len(wanted)])
        assert set(order_of_first_use(stream, [step])) <= set(wanted)


def test_everything_is_wanted_where_there_is_room():
    stream = stream_of(TrainingOrder((4,) * 6, batch=4, shuffle_window=2), shards=6)
    assert numbers(Lookahead(stream, 10**6).wanted(0)) == order_of_first_use(stream, range(6))


def test_what_a_step_needs_is_wanted_though_there_is_no_room():
    stream = stream_of(EvaluationOrder(40, 10), shards=10)
    assert numbers(Lookahead(stream, SHARD).wanted(1)) == [2, 3, 4]


def test_a_node_wants_what_its_own_ranks_read():
    stream = stream_of(EvaluationOrder(40, 40), shards=10, ranks_here=(1, 2), ranks=4)
    assert numbers(Lookahead(stream, 10**6).wanted(0)) == [2, 3, 4, 5, 6, 7]  # samples 10 to 29


def test_images_to_mix_in_are_wanted_too():
    class Mixed:
        steps = 1

        def slots(self, step, rank=0, ranks=1):
            return Slots(np.array([0, 4]), np.array([0, 0]), np.array([[9, 13], [1, 5]]))

    lookahead = Lookahead(stream_of(Mixed(), shards=5), 10**6)
    assert numbers(lookahead.wanted(0)) == [0, 1, 2, 3]  # and does not look for the last for ever


def test_files_of_records_come_first_and_local_files_not_at_all():
    side_file = StoredFile("https://host/records.bin", SHARD, "77", 0)
    stream = stream_of(EvaluationOrder(40, 4), shards=10, side_files=(side_file,))
    local = stream.shards[1]._replace(location="/data/1.tar")
    stream = stream._replace(shards=(stream.shards[0], local, *stream.shards[2:]))
    assert numbers(Lookahead(stream, 4 * SHARD).wanted(0)) == [77, 0, 2, 3]


def test_the_proposals_of_a_shard_are_wanted_with_it_and_take_room_too():
    stream = stream_of(EvaluationOrder(40, 2), shards=10)
    stream = stream._replace(companions=tuple(map(companion, range(10))))
    assert numbers(Lookahead(stream, 3 * SHARD).wanted(0)) == [0, 1000, 1, 1001]
    assert numbers(Lookahead(stream, 3 * SHARD).wanted(3)) == [1, 1001, 2, 1002]
