"""Workers live and die with the training process, whatever the scheduler sends to all of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lit_detseg.data.loading.worker_process import signals_held_back
from tests.conftest import REPOSITORY
from tests.data.shard_sets import write_numbered

BOUND = 60  # seconds until a worker without a parent is gone; about 5 on a quiet machine


@pytest.fixture
def reading(tmp_path):
    """A function that starts a reading process, a process group of its own; its first line too."""
    started = []

    def start(after):
        folder = write_numbered(tmp_path / "set", images=40)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.data.loading.reading_process", folder, after],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process, [int(pid) for pid in process.stdout.readline().split()]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what is left of it, workers too
        process.communicate()


def is_running(pid):
    """Whether a process exists and is no zombie that waits for an init to reap it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until_gone(pids):
    end = time.monotonic() + BOUND
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < end, f"{pids} live on"
        time.sleep(0.05)


def test_a_signal_to_the_whole_group_is_the_training_processs_business(reading):
    process, (parent, *workers) = reading("wait")
    assert len(workers) == 2

    for name in (signal.SIGTERM, signal.SIGUSR1):
        os.killpg(parent, name)
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    output, _ = process.communicate("\n", timeout=BOUND)

    assert output.strip() == "True ['SIGTERM', 'SIGUSR1']"  # all images came, from both workers
    assert process.returncode == 0
    wait_until_gone(workers)


@pytest.mark.parametrize("how", ["wait", "late"])  # all workers at work, or one not yet
def test_workers_end_when_the_training_process_is_killed(reading, how):
    _, (parent, *workers) = reading(how)
    os.kill(parent, signal.SIGKILL)
    wait_until_gone(workers)


def test_a_training_process_that_just_quits_ends_its_workers(reading):
    process, (_, *workers) = reading("quit")
    process.communicate(timeout=BOUND)
    assert process.returncode == 0
    wait_until_gone(workers)


def test_signals_wait_while_workers_start_and_arrive_afterwards():
    received = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    try:
        with signals_held_back():
            # To this thread, as to the only one of a forked worker; others are left out of it.
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
            assert received == []
        assert received == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
