"""`kill -9` in the middle of `lit-detseg propose`: the next one goes on, to the same bytes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lit_detseg.data.proposals.compute import compute_proposals
from lit_detseg.data.proposals.selective_search import SelectiveSearch
from tests.conftest import REPOSITORY
from tests.data.proposals.sets import contents
from tests.data.shard_sets import write_shapes
from tests.e2e.commands import run_command

IMAGES = 24  # in one shard, as small sets are: two workers share it all the same
OPTIONS = ("--method", "selective_search", "--width", "220")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set beside which proposals were computed in one go, by one process."""
    folder = write_shapes(tmp_path_factory.mktemp("set") / "set", IMAGES, samples_per_shard=100)
    compute_proposals(folder, SelectiveSearch(width=220), "undisturbed")
    return folder


def processes_of(group):
    """How many processes of a group are alive."""
    found = subprocess.run(["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True)
    return sum(not state.startswith("Z") for state in found.stdout.split())


def test_a_killed_command_goes_on_where_it_was(folder):
    place = folder / "proposals/selective_search"
    unfinished = folder / "proposals/selective_search.computing"
    command = [sys.executable, "-m", "lit_detseg", "propose", str(folder), *OPTIONS]
    process = subprocess.Popen([*command, "--workers", "2"], cwd=REPOSITORY, start_new_session=True)
    deadline = time.monotonic() + 100
    while len(list(unfinished.glob("notes/part-*.npz"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    at_work = processes_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert at_work == 3  # the command and two workers
    assert not place.exists()
    finished = {path.name: path.stat().st_ino for path in unfinished.glob("notes/part-*.npz")}
    assert 2 <= len(finished) < 6
    while processes_of(process.pid):  # at once: they do not finish their images first
        assert time.monotonic() < deadline
    result = run_command("propose", folder, *OPTIONS, "--workers", "2")

    assert f"{len(finished)} of 6 parts are there" in result.stderr
    assert contents(place) == contents(folder / "proposals/undisturbed")
    names = sorted(path.name for path in (folder / "proposals").iterdir())
    assert names == ["selective_search", "undisturbed"]
