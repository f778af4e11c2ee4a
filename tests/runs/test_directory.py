"""The run directory: its diary, its claim, and what it refuses."""

import json
import subprocess
import sys

import pytest

from lit_detseg.errors import UserError
from lit_detseg.runs.directory import RunDirectory, git_revision, write_atomically
from lit_detseg.structures import LabelMap


def test_a_run_keeps_its_id_over_attempts(tmp_path):
    first = RunDirectory(tmp_path / "runs/a")
    assert first.start_attempt(["lit-detseg", "fit"]) == 1
    first.end_attempt("finished", ended_at_step=10)

    second = RunDirectory(tmp_path / "runs/a")
    assert second.start_attempt(resumed_from="step-00000010.ckpt") == 2

    diary = json.loads((tmp_path / "runs/a/run.json").read_text())
    assert second.run_id == first.run_id == diary["run_id"]
    assert [entry["status"] for entry in diary["attempts"]] == ["finished", "running"]
    assert diary["attempts"][0]["command"] == ["lit-detseg", "fit"]
    assert diary["attempts"][0]["ended_at_step"] == 10
    assert diary["attempts"][1]["resumed_from"] == "step-00000010.ckpt"


def test_two_runs_have_two_ids(tmp_path):
    assert RunDirectory(tmp_path / "a").run_id != RunDirectory(tmp_path / "b").run_id


def test_an_attempt_that_never_ended_is_called_killed(tmp_path):
    RunDirectory(tmp_path).start_attempt()
    directory = RunDirectory(tmp_path)
    directory.start_attempt()
    assert [entry["status"] for entry in directory.attempts] == ["killed", "running"]


def test_two_processes_cannot_train_in_one_directory(tmp_path):
    code = (
        "import sys; from lit_detseg.runs.directory import RunDirectory\n"
        f"directory = RunDirectory({str(tmp_path)!r}); directory.start_attempt()\n"
        "print('started', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "started\n"

    with pytest.raises(UserError, match=f"Another process .* process {other.pid}"):
        RunDirectory(tmp_path).start_attempt()
    other.kill()
    other.wait()

    assert RunDirectory(tmp_path).start_attempt() == 2  # the claim dies with its process


def test_nothing_is_made_before_it_is_needed(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    assert not directory.is_used
    assert directory.attempts == []
    assert directory.config_file is None
    assert not directory.path.exists()


@pytest.mark.parametrize("left", ["metrics.jsonl", "checkpoints/step-00000001.ckpt"])
def test_metrics_or_checkpoints_make_it_used(left, tmp_path):
    directory = RunDirectory(tmp_path)
    directory.checkpoints.mkdir()
    assert not directory.is_used

    (tmp_path / left).write_text("x")

    assert directory.is_used


def test_each_different_configuration_is_kept(tmp_path):
    directory = RunDirectory(tmp_path)
    names = []
    for text in ("lr: 1", "lr: 1", "lr: 2", "lr: 2", "lr: 1"):
        directory.start_attempt()
        names.append(directory.write_config(text).name)
    assert names == [
        "config.yaml",
        "config.yaml",
        "config_3.yaml",
        "config_3.yaml",
        "config_5.yaml",
    ]
    assert directory.config_file.read_text() == "lr: 1"


def test_other_classes_are_refused(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.write_label_map(LabelMap(("cat", "dog")))
    directory.write_label_map(LabelMap(("cat", "dog")))
    with pytest.raises(UserError, match='label 1 is "dog" in one and "cow" in the other'):
        directory.write_label_map(LabelMap(("cat", "cow")))


def test_a_file_is_not_a_run_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        RunDirectory(tmp_path / "file")
    with pytest.raises(UserError, match="Cannot write to"):
        RunDirectory(tmp_path / "file/run").start_attempt()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"format": 1,', "not valid JSON", id="cut short"),
        pytest.param('{"format": 2}', "has format 2", id="of another version"),
    ],
)
def test_a_strange_diary_is_refused(text, message, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=message):
        RunDirectory(tmp_path).start_attempt()


def test_facts_can_be_added_later(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.note(world_size=2)  # before any attempt: nowhere to note it
    directory.start_attempt(total_batch_size=16)
    directory.note(world_size=4)
    entry = directory.attempts[-1]
    assert (entry["total_batch_size"], entry["world_size"]) == (16, 4)


def test_a_failed_write_leaves_the_old_text(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_revision_is_a_commit_or_unknown():
    revision = git_revision()
    assert revision is None or len(revision.removesuffix("-dirty")) == 40
