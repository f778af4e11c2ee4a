"""One cache, many processes: each file fetched once, never more than the limit, never a hang."""

import multiprocessing
import os
import resource
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.shards import ShardReader
from lit_detseg.structures import UserError
from tests.data.remote.conftest import IMAGES, QUICK

SHARD = 10240  # bytes of each of the three shards
FORK = multiprocessing.get_context("fork")
WITHIN = 60  # seconds; what takes longer hangs


def cache_in(folder, **options):
    return ShardCache(folder, **{"retries": QUICK, **options})


def read_numbers(reader, samples=range(IMAGES)):
    return [int(reader.read(sample)[0][0, 0, 0]) for sample in samples]


def forked(work, *arguments):
    """A process that ends with 0 when `work` returns something true."""

    def run():
        os._exit(0 if work(*arguments) else 1)

    process = FORK.Process(target=run)
    process.start()
    return process


def exit_codes(processes):
    for process in processes:
        process.join(WITHIN)
    return [process.exitcode for process in processes]


def wait_for(condition):
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def whole_files(folder):
    return [path for path in folder.iterdir() if len(path.name) == 64]


@pytest.fixture
def cache(tmp_path):
    return cache_in(tmp_path / "cache")


@pytest.fixture
def reader(nginx, cache):
    return ShardReader(f"{nginx.url}/set", cache)


def test_processes_fetch_each_shard_once(http, cache):
    reader = ShardReader(http[1], cache)

    def read_in_order_of_its_own(first):
        samples = np.roll(np.arange(IMAGES), first).tolist()
        return read_numbers(reader, samples) == samples

    processes = [forked(read_in_order_of_its_own, first) for first in (0, 0, 4, 9)]

    assert exit_codes(processes) == [0] * 4
    shards_asked = sorted(path for path in http[0].asked if path.endswith(".tar"))
    assert shards_asked == [f"/set/shard-00000{n}.tar" for n in range(3)]


def test_processes_read_right_though_the_limit_evicts_what_others_read(nginx, tmp_path):
    reader = ShardReader(f"{nginx.url}/set", cache_in(tmp_path / "cache", max_bytes=2 * SHARD))

    def read(seed):
        samples = np.random.default_rng(seed).integers(0, IMAGES, 40).tolist()
        return read_numbers(reader, samples) == samples

    processes = [forked(read, seed) for seed in range(4)]

    most = 0
    while any(process.is_alive() for process in processes):
        most = max(most, len(whole_files(tmp_path / "cache")))
        time.sleep(0.005)
    assert exit_codes(processes) == [0] * 4
    assert 1 <= most <= 2


def test_the_longest_unused_file_goes_first(reader, cache):
    first, second, third = reader.shards
    cache.max_bytes = cache._files.max_bytes = 2 * SHARD
    for shard in (first, second):
        cache.fetch(shard)
    os.utime(cache.folder / f"{second.sha256}.ok", (1, 1))  # long ago

    cache.fetch(third)

    assert [cache.holds(shard) for shard in reader.shards] == [True, False, True]


def test_an_evicted_file_stays_readable_until_it_is_closed(reader, cache):
    descriptor = cache.open(reader.shards[0])
    cache.max_bytes = cache._files.max_bytes = SHARD
    cache.fetch(reader.shards[1])
    assert not cache.holds(reader.shards[0])
    assert len(os.pread(descriptor, 2 * SHARD, 0)) == SHARD
    os.close(descriptor)


def test_reading_from_the_cache_keeps_nothing_open(reader):
    before = os.listdir("/proc/self/fd")
    assert read_numbers(reader) == list(range(IMAGES))
    assert os.listdir("/proc/self/fd") == before


def test_another_process_goes_on_when_the_one_that_fetches_is_killed(nginx, tmp_path):
    patient = cache_in(tmp_path / "cache", retries=replace(QUICK, timeout=10.0))
    reader = ShardReader(f"{nginx.url}/slow/set", patient)
    killed = forked(lambda: read_numbers(reader, [0]))
    wait_for(lambda: list((tmp_path / "cache").glob("*.part")))
    waiting = forked(lambda: read_numbers(reader, [0, 1]) == [0, 1])

    os.kill(killed.pid, signal.SIGKILL)

    assert exit_codes([killed, waiting]) == [-signal.SIGKILL, 0]
    assert not list((tmp_path / "cache").glob("*.part"))


def test_what_a_killed_process_leaves_takes_no_room(reader, cache, tmp_path):
    cache.max_bytes = cache._files.max_bytes = SHARD
    left = cache.folder / f"{reader.shards[0].sha256}.part"
    left.write_bytes(bytes(SHARD))
    assert read_numbers(reader, [4, 5]) == [4, 5]
    assert not left.exists()


def test_a_stopped_process_is_not_waited_for_for_ever(nginx, tmp_path):
    quick = replace(QUICK, timeout=0.3)  # twice that, and a second, is what it may be silent
    reader = ShardReader(f"{nginx.url}/slow/set", cache_in(tmp_path / "cache", retries=quick))
    small = ShardReader(
        f"{nginx.url}/slow/set", cache_in(tmp_path / "cache", retries=quick, max_bytes=SHARD)
    )
    stopped = forked(lambda: read_numbers(reader, [0]))
    try:
        wait_for(lambda: any(p.stat().st_size for p in (tmp_path / "cache").glob("*.part")))
        os.kill(stopped.pid, signal.SIGSTOP)

        with pytest.raises(UserError, match=r"Another process on this node holds .* has done noth"):
            reader.read(0)
        with pytest.raises(UserError, match=r"shard-000001.tar finds no room .* 1 other files are"):
            small.read(4)
    finally:
        stopped.kill()
        stopped.join()


def test_who_waits_for_a_process_that_gives_up_gives_up_too(http, tmp_path):
    proxy, url, _ = http
    reader = ShardReader(url, cache_in(tmp_path / "cache", retries=replace(QUICK, attempts=2)))
    proxy.always("shard-000000.tar", "stall")

    def says_why():
        with pytest.raises(UserError, match="shard-000000.tar could not be fetched: 2 attempts"):
            reader.read(0)
        return True

    processes = [forked(says_why) for _ in range(4)]

    assert exit_codes(processes) == [0] * 4
    # The last may have come when the first had given up.
    assert sum("shard-000000.tar" in path for path in proxy.asked) <= 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, SHARD // 2),
        lambda path: path.write_bytes(bytes(SHARD)),
        lambda path: path.unlink(),
    ],
    ids=["cut", "overwritten", "deleted"],
)
def test_a_file_damaged_on_the_disk_is_fetched_again(http, cache, damage):
    reader = ShardReader(http[1], cache)
    assert read_numbers(reader) == list(range(IMAGES))
    damage(cache.folder / reader.shards[1].sha256)
    assert read_numbers(reader) == list(range(IMAGES))
    assert sum("shard-000001.tar" in path for path in http[0].asked) == 2


@pytest.mark.parametrize("right", [True, False])
def test_after_a_boot_the_checksum_is_compared_again(http, cache, right):
    reader = ShardReader(http[1], cache)
    read_numbers(reader)
    file = cache.folder / reader.shards[1].sha256
    looked_like = file.with_suffix(".ok")
    looked_like.write_text("another-boot " + looked_like.read_text().partition(" ")[2])
    if not right:  # as a crash leaves what was not synced: the length is right, the time too
        times = file.stat()
        file.write_bytes(bytes(SHARD))
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    again = ShardReader(http[1], cache_in(cache.folder))

    assert read_numbers(again) == list(range(IMAGES))
    assert sum("shard-000001.tar" in path for path in http[0].asked) == (1 if right else 2)


def test_a_folder_is_read_through_the_cache_when_asked(folder, cache):
    reader = ShardReader(folder, cache, cache_local=True)
    assert read_numbers(reader) == list(range(IMAGES))
    assert len(whole_files(cache.folder)) == 3
    assert read_numbers(ShardReader(folder.as_uri(), cache)) == list(range(IMAGES))


def test_a_missing_file_of_a_folder_is_named(tmp_path, folder, cache):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/index.json").write_bytes((folder / "index.json").read_bytes())
    reader = ShardReader(tmp_path / "copy", cache, cache_local=True)
    with pytest.raises(UserError, match="copy/shard-000000.tar cannot be fetched: there is no"):
        reader.read(0)


def test_a_full_disk_is_named(nginx, tmp_path):
    cache = cache_in(tmp_path / "cache")
    reader = ShardReader(f"{nginx.url}/set", cache)

    def fails_clearly():
        resource.setrlimit(resource.RLIMIT_FSIZE, (SHARD // 2, SHARD // 2))
        with pytest.raises(UserError, match=r"shard-000000.tar cannot be kept in .*cache .* free"):
            reader.read(0)
        return not list((tmp_path / "cache").glob("*.part"))

    assert exit_codes([forked(fails_clearly)]) == [0]


def test_a_cache_that_is_too_small_is_refused_with_numbers(reader, cache):
    assert reader.remote_bytes(2) == 2 * SHARD
    assert reader.remote_bytes(16) == 3 * SHARD
    cache.require(reader.remote_bytes(16), "16 shards")
    cache.max_bytes = cache._files.max_bytes = SHARD - 1
    with pytest.raises(UserError, match=r"16 shards take 3.07e-05 GB, but the cache may hold 1.02"):
        cache.require(reader.remote_bytes(16), "16 shards")
    with pytest.raises(UserError, match=r"shard-000000.tar has 1.02e-05 GB, but the cache may"):
        reader.read(0)
    cache.max_bytes = 10**18
    with pytest.raises(UserError, match=r"16 shards take 1e\+08 GB, but the disk of the cache"):
        cache.require(10**17, "16 shards")


def test_a_set_that_was_packed_again_is_another_set(nginx, folder, cache, tmp_path):
    url = f"{nginx.url}/changing"
    served = folder.parent / "changing"
    served.mkdir()
    for path in folder.iterdir():
        (served / path.name).write_bytes(path.read_bytes())
    before = ShardReader(url, cache)
    index = served / "index.json"
    index.write_text(index.read_text().replace('"cat"', '"cow"'))

    after = ShardReader(url, cache)

    assert before.sha256 != after.sha256
    assert after.label_map.names == ("cow", "dog")
