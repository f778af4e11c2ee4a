"""`kill -9` in the middle of `lit-detseg propose`: the next one goes on, to the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lit_detseg.data.proposals.compute import compute_proposals
from lit_detseg.data.proposals.selective_search import SelectiveSearch
from tests.conftest import REPOSITORY
from tests.data.proposals.sets import contents
from tests.data.shard_sets import write_shapes
from tests.e2e.commands import run_command

IMAGES = 24  # in one shard, as small sets are: two workers share it all the same
OPTIONS = ("--method", "selective_search", "--width", "160")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set beside which proposals were computed in one go, by one process."""
    folder = write_shapes(tmp_path_factory.mktemp("set") / "set", IMAGES, samples_per_shard=100)
    compute_proposals(folder, SelectiveSearch(width=160), "undisturbed")
    return folder


def children(process):
    """Process numbers of a running process's children."""
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def is_alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_killed_command_goes_on_where_it_was(folder):
    place = folder / "proposals/selective_search"
    unfinished = folder / "proposals/selective_search.computing"
    command = [sys.executable, "-m", "lit_detseg", "propose", str(folder), *OPTIONS]
    process = subprocess.Popen([*command, "--workers", "2"], cwd=REPOSITORY)
    deadline = time.monotonic() + 100
    while len(list(unfinished.glob("notes/part-*.npz"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    workers = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert len(workers) == 2
    while any(map(is_alive, workers)):  # at once: they do not finish their images first
        assert time.monotonic() < deadline
    assert not place.exists()
    finished = len(list(unfinished.glob("notes/part-*.npz")))
    assert 2 <= finished < 6
    result = run_command("propose", folder, *OPTIONS, "--workers", "2")

    assert f"{finished} of 6 parts are there" in result.stderr
    assert contents(place) == contents(folder / "proposals/undisturbed")
    names = sorted(path.name for path in (folder / "proposals").iterdir())
    assert names == ["selective_search", "undisturbed"]
