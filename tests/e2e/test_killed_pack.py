"""`kill -9` in the middle of packing: nothing looks finished, and the next attempt goes on."""

import os
import random
import signal
import time
from multiprocessing import get_context

import pytest

from lit_detseg.data.packing.pack import PackOptions, pack, pack_part
from lit_detseg.data.packing.parts import merge
from lit_detseg.data.packing.plan import Part
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.errors import UserError

IMAGES = 160


def options(workers):
    return PackOptions(samples_per_shard=10, workers=workers)


def pack_set(out, workers):
    pack(ShapesReader(IMAGES, size=48), out, **vars(options(workers)))


def pack_in_parts(out, workers):
    for number in (1, 2, 3):
        pack_part(ShapesReader(IMAGES, size=48), out, Part(number, 3), options(workers))
    merge(out)


def kill_at_some_moment(target, out, workers, generator):
    """Whether the process was killed before it was done."""
    process = get_context("fork").Process(target=target, args=(out, workers))
    process.start()
    time.sleep(generator.uniform(0.0, 0.6))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    pack_set(out, 1)
    return contents(out)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", [pack_set, pack_in_parts])
def test_killed_again_and_again_the_set_is_the_one_of_one_go(tmp_path, undisturbed, target, seed):
    generator = random.Random(seed)
    out = tmp_path / "out"
    for _ in range(4):
        workers = generator.choice([1, 2])
        killed = kill_at_some_moment(target, out, workers, generator)
        if not killed or out.exists():
            break
        assert not list(tmp_path.glob("out*/index.json"))

    if not out.exists():
        target(out, 2)
    if list(tmp_path.glob("out.part-*")):  # killed after the set had its name
        merge(out)
    with pytest.raises(UserError, match="not empty"):
        pack_set(out, 1)

    assert contents(out) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_next_attempt_goes_on_behind_finished_shards(tmp_path, undisturbed):
    out = tmp_path / "out"
    process = get_context("fork").Process(target=pack_set, args=(out, 2))
    process.start()
    third = tmp_path / "out.packing/notes/shard-000002.json"
    while not third.exists():
        assert process.is_alive()
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not out.exists()
    shard = tmp_path / "out.packing/shards/shard-000002.tar"
    inode = shard.stat().st_ino

    pack_set(out, 1)

    assert (out / shard.name).stat().st_ino == inode
    assert contents(out) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
