"""Worker processes: all tasks once, and no process left whatever happens."""

import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from lit_detseg.data.packing.workers import run_tasks
from lit_detseg.errors import UserError


def children():
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


@pytest.fixture(autouse=True)
def _no_process_is_left():
    before = children()
    yield
    assert children() == before


@pytest.mark.parametrize("workers", [1, 2, 3, 9])
def test_every_task_runs_once(tmp_path, workers):
    def task(number, done):
        done(number)
        done(1)
        with (tmp_path / str(number)).open("a") as file:
            file.write("x")
        return number % 2 == 0

    heard = []
    results = run_tasks(task, range(5), workers, heard.append)

    assert results == {0: True, 1: False, 2: True, 3: False, 4: True}
    assert sum(heard) == sum(range(5)) + 5
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {n: "x" for n in "01234"}


def test_one_worker_is_this_process():
    seen = []
    run_tasks(lambda number, done: seen.append(os.getpid()) is None, [1, 2], 1, lambda images: None)
    assert seen == [os.getpid()] * 2


def test_workers_are_other_processes(tmp_path):
    def task(number, done):
        (tmp_path / str(os.getpid())).touch()
        time.sleep(0.05)
        return True

    run_tasks(task, range(4), 2, lambda images: None)
    pids = {path.name for path in tmp_path.iterdir()}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids


@pytest.mark.parametrize("error", [UserError("mend it"), OSError(28, "No space"), KeyError("x")])
def test_what_a_task_raises_comes_through_and_ends_the_others(error):
    def task(number, done):
        if number == 1:
            raise error
        while True:
            time.sleep(0.01)
            done(1)

    with pytest.raises(type(error)) as raised:
        run_tasks(task, range(4), 2, lambda images: None)
    assert raised.value.args == error.args


def test_an_exception_that_cannot_travel_is_told_in_words():
    class LocalError(Exception):
        pass

    def task(number, done):
        raise LocalError("only here")

    with pytest.raises(RuntimeError, match="only here"):
        run_tasks(task, range(2), 2, lambda images: None)


def test_a_killed_worker_is_one_clear_error():
    def task(number, done):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    with pytest.raises(UserError) as error:
        run_tasks(task, range(6), 2, lambda images: None)
    assert "A worker was ended by SIGKILL at shard 2" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_workers_end_with_the_process_that_packs(tmp_path, name):
    def task(number, done):
        (tmp_path / str(number)).touch()
        while True:
            time.sleep(0.01)
            done(1)

    def packing():
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run_tasks(task, range(2), 2, lambda images: None)

    reading, writing = os.pipe()  # every process holds the writing end: it closes with the last one
    process = get_context("fork").Process(target=packing)
    process.start()
    os.close(writing)
    while len(list(tmp_path.iterdir())) < 2:
        assert process.is_alive()
        time.sleep(0.01)

    # Ctrl-C reaches the whole group, a scheduler's signal one process.
    send = os.killpg if name == "SIGINT" else os.kill
    send(process.pid, getattr(signal, name))

    assert os.read(reading, 1) == b""
    process.join()
    assert process.exitcode != 0
    os.close(reading)
