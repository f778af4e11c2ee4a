"""The process that fetches ahead: it helps, and nothing depends on it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lit_detseg.data.loading.batches import BatchReader
from lit_detseg.data.loading.loader import PositionedLoader, StepLoader
from lit_detseg.data.order import EvaluationOrder, TrainingOrder
from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.fetcher import Fetcher
from lit_detseg.data.shards import ShardReader
from lit_detseg.structures import UserError
from tests.conftest import REPOSITORY
from tests.data.remote.conftest import IMAGES, QUICK
from tests.data.remote.test_cache import SHARD, wait_for, whole_files
from tests.data.shard_sets import write_numbered


@pytest.fixture(scope="module")
def long_set(folder):
    """Ten shards beside the usual set."""
    return write_numbered(folder.parent / "long", images=40)


@pytest.fixture
def start(http_proxy, long_set, tmp_path):
    """A function that makes reader and fetcher on a cache for some shards."""
    fetchers = []

    def make(shards_in_cache, name="long"):
        cache = ShardCache(tmp_path / "cache", int(shards_in_cache * SHARD), QUICK)
        fetchers.append(Fetcher(cache))
        return ShardReader(f"{http_proxy.url}/{name}", cache), fetchers[-1]

    yield make
    for fetcher in fetchers:
        fetcher.close()


def shards_asked(proxy):
    return [int(path[-10:-4]) for path in proxy.asked if path.endswith(".tar")]


def here(reader, fetcher):
    """Numbers of the shards in the cache; looking is no use of them."""
    return [
        n for n, shard in enumerate(reader.shards) if (fetcher.cache.folder / shard.sha256).exists()
    ]


def test_the_next_shards_are_fetched_and_no_more_than_there_is_room_for(start, http_proxy):
    reader, fetcher = start(shards_in_cache=4.5)  # of which nine tenths are used
    order = fetcher.follow(reader, EvaluationOrder(40, 4))
    order.slots(0)
    wait_for(lambda: here(reader, fetcher) == [0, 1, 2, 3])

    order.slots(3)

    wait_for(lambda: here(reader, fetcher) == [3, 4, 5, 6])
    assert sorted(shards_asked(http_proxy)) == [0, 1, 2, 3, 4, 5, 6]
    assert len(whole_files(fetcher.cache.folder)) == 4


def test_a_loader_with_forked_workers_reads_a_remote_set(start, http_proxy):
    reader, fetcher = start(shards_in_cache=20)
    order = TrainingOrder(reader.shard_lengths, batch=4, shuffle_window=3)
    followed = fetcher.follow(reader, order, read_ahead=4)
    loader = PositionedLoader(BatchReader(reader), followed, num_workers=2)
    followed.slots(0)
    wait_for(lambda: here(reader, fetcher) == list(range(10)))

    for epoch in range(2):
        ids = [image_id for batch in loader for image_id in batch.annotations.image_ids]
        assert ids == reader.keys[order.epoch(epoch)].tolist()

    assert sorted(shards_asked(http_proxy)) == list(range(10))  # each once


def test_with_little_room_every_sample_is_read_once_all_the_same(start):
    reader, fetcher = start(shards_in_cache=4.5)
    order = fetcher.follow(reader, EvaluationOrder(40, 4))
    loader = StepLoader(BatchReader(reader), order, num_workers=2)
    order.slots(0)
    wait_for(lambda: here(reader, fetcher) == [0, 1, 2, 3])  # it runs
    for _ in range(2):
        batches = list(loader)
        assert [i for b in batches for i in b.annotations.image_ids] == reader.keys.tolist()
        assert [int(p[0, 0, 0]) for b in batches for p in b.pixels] == list(range(40))
        assert len(whole_files(fetcher.cache.folder)) <= 4


def test_ranks_go_on_by_themselves_when_it_is_killed(start):
    reader, fetcher = start(shards_in_cache=20)
    order = fetcher.follow(reader, EvaluationOrder(40, 4))
    order.slots(0)
    os.kill(fetcher._process.pid, signal.SIGKILL)
    loader = StepLoader(BatchReader(reader), order, num_workers=1)
    assert [i for b in loader for i in b.annotations.image_ids] == reader.keys.tolist()


def test_an_order_that_no_other_process_can_have_is_read_without_it(start):
    class OfThisTest(EvaluationOrder):
        pass

    reader, fetcher = start(shards_in_cache=20)
    order = fetcher.follow(reader, OfThisTest(40, 4))
    with pytest.warns(UserWarning, match=r"Shards are not fetched ahead: .*OfThisTest"):
        assert order.slots(1).samples.tolist() == [4, 5, 6, 7]
    assert order.slots(2).samples.tolist() == [8, 9, 10, 11]
    assert fetcher._process is None


def test_a_worker_passes_on_which_shard_cannot_be_fetched(start, http_proxy):
    reader, fetcher = start(shards_in_cache=20)
    http_proxy.always("shard-000001.tar", "503")
    loader = StepLoader(
        BatchReader(reader), fetcher.follow(reader, EvaluationOrder(40, 4)), num_workers=2
    )
    with pytest.raises(UserError, match=r"long/shard-000001.tar could not be fetched: 4 attempts"):
        list(loader)


TRAINING = """
import sys, time
from lit_detseg.data.order import EvaluationOrder
from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.fetcher import Fetcher
from lit_detseg.data.shards import ShardReader
fetcher = Fetcher(ShardCache(sys.argv[2]))
reader = ShardReader(sys.argv[1], fetcher.cache)
fetcher.follow(reader, EvaluationOrder(len(reader), 4)).slots(0)
print(fetcher._process.pid, fetcher._folder, flush=True)
time.sleep(600)
"""


def test_it_ends_with_training_however_that_ends(nginx, long_set, tmp_path):
    command = [sys.executable, "-c", TRAINING, f"{nginx.url}/long", str(tmp_path / "cache")]
    training = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    pid, folder = training.stdout.readline().split()
    wait_for(lambda: len(whole_files(tmp_path / "cache")) == 10)

    training.kill()
    training.wait()

    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in state_of(pid))
    assert not Path(folder).exists()


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_local_set_needs_no_fetcher(folder, tmp_path):
    fetcher = Fetcher(ShardCache(tmp_path / "cache"))
    order = EvaluationOrder(IMAGES, 4)
    assert fetcher.follow(ShardReader(folder), order) is order
    fetcher.close()
