"""The folder that appears when it is whole, and its lock."""

import os
import threading
import time
from multiprocessing import get_context

import pytest

from lit_detseg.data.packing import work_folder as module
from lit_detseg.data.packing.work_folder import RefusedError, work_folder
from lit_detseg.errors import UserError


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path / "out"`."""

    def hold():
        with work_folder(tmp_path / "out", "index.json", False):
            theirs.send("held")
            time.sleep(60)

    context = get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, daemon=True)
    process.start()
    assert ours.recv() == "held"
    yield process
    process.kill()
    process.join()


def write(folder, *names):
    for name in names:
        (folder / name).write_text(name)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_it_is_published(tmp_path):
    with work_folder(tmp_path / "some/out", "index.json", overwrite=False) as folder:
        write(folder.shards, "shard-000000.tar", "index.json")
        assert not (tmp_path / "some/out").exists()
        folder.publish()

    assert names(tmp_path / "some") == ["out"]
    assert names(tmp_path / "some/out") == ["index.json", "shard-000000.tar"]


def test_what_is_finished_survives_an_interruption(tmp_path):
    def packing():
        with work_folder(tmp_path / "out", "i", False) as folder:
            write(folder.shards, "shard-000000.tar", ".shard-000001.tar.7.tmp")
            write(folder.notes, "shard-000000.json")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packing()

    with work_folder(tmp_path / "out", "i", False) as folder:
        assert names(folder.shards) == ["shard-000000.tar"]  # and nothing half-written
        assert names(folder.notes) == ["shard-000000.json"]


def test_nothing_is_left_of_refused_input(tmp_path):
    def packing():
        with work_folder(tmp_path / "out", "i", False) as folder:
            write(folder.shards, "shard-000000.tar")
            raise RefusedError("bad rows")

    with pytest.raises(RefusedError, match="bad rows"):
        packing()
    assert names(tmp_path) == []


def test_two_at_once_are_refused_and_the_lock_ends_with_its_process(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(module, "LOCK_PATIENCE", 0.1)
    with (
        pytest.raises(UserError, match=r"Another process is packing .*out"),
        work_folder(tmp_path / "out", "index.json", False),
    ):
        pass
    assert names(tmp_path / "out.packing") == ["lock", "notes", "shards"]

    holder.kill()
    holder.join()
    with work_folder(tmp_path / "out", "index.json", False):
        pass
    assert names(tmp_path) == []


def test_who_waited_for_the_lock_sees_that_the_folder_is_there(tmp_path):
    descriptor = module._try_lock(tmp_path / "out.packing")

    def finish():
        (tmp_path / "out").mkdir()
        write(tmp_path / "out", "index.json")
        os.close(descriptor)

    thread = threading.Timer(0.2, finish)
    thread.start()
    with pytest.raises(UserError, match="not empty"), work_folder(tmp_path / "out", "i", False):
        pass
    thread.join()
    assert names(tmp_path) == ["out"]


def test_a_lock_of_a_removed_folder_does_not_count(tmp_path):
    """Between opening and locking the file, its owner may have finished and removed it."""
    first = module._try_lock(tmp_path / "out.packing")
    (tmp_path / "out.packing/lock").unlink()
    second = module._try_lock(tmp_path / "out.packing")
    assert second is not None
    assert module._try_lock(tmp_path / "out.packing") is None
    for descriptor in (first, second):
        os.close(descriptor)


def test_a_folder_of_that_name_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "out.packing").mkdir()
    write(tmp_path / "out.packing", "thesis.txt")
    with (
        pytest.raises(UserError, match="more than shards .thesis.txt"),
        work_folder(tmp_path / "out", "index.json", False) as folder,
    ):
        folder.publish()
    assert (tmp_path / "out.packing/thesis.txt").read_text() == "thesis.txt"


def test_what_is_left_of_an_attempt_killed_at_its_very_end_is_removed(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "index.json")
    (tmp_path / "out.packing/notes").mkdir(parents=True)
    with pytest.raises(UserError, match="not empty"), work_folder(tmp_path / "out", "i", False):
        pass
    assert names(tmp_path) == ["out"]
