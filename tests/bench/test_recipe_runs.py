"""What a benchmark reads of a run, whether it trained it or found it done."""

import json
import math

import pytest

from lit_detseg.bench.recipe_runs import RecipeRun
from lit_detseg.errors import UserError
from tests.e2e.commands import fit_arguments


def write_diary(folder, *attempts):
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(
        json.dumps({"format": 1, "id": "abcd1234", "attempts": list(attempts)})
    )


def attempt(started, ended, status):
    def on(minute):
        return None if minute is None else f"2026-01-01T10:{minute:02d}:30+00:00"

    return {"started": on(started), "ended": on(ended), "status": status}


def test_minutes_are_those_of_all_attempts_without_the_pause(tmp_path):
    write_diary(tmp_path, attempt(0, 12, "interrupted"), attempt(30, 33, "finished"))
    one = RecipeRun(tmp_path, ())
    assert one.minutes == 15
    assert one.is_finished


def test_of_a_killed_attempt_nobody_knows_the_minutes(tmp_path):
    write_diary(tmp_path, attempt(0, None, "running"), attempt(30, 33, "finished"))
    assert math.isnan(RecipeRun(tmp_path, ()).minutes)


def test_an_interrupted_run_is_not_finished(tmp_path):
    write_diary(tmp_path, attempt(0, 12, "finished"), attempt(30, 33, "interrupted"))
    assert not RecipeRun(tmp_path, ()).is_finished
    assert not RecipeRun(tmp_path / "nothing", ()).is_finished


def test_a_failed_run_is_told_with_its_command(tmp_path):
    one = RecipeRun(tmp_path / "run", ("-c", "nowhere.yaml"))
    with pytest.raises(UserError, match="fit -c nowhere.yaml .* ended with exit code 2"):
        one.finish()


def test_a_finished_run_is_not_trained_again(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = fit_arguments(shards, tmp_path, "--trainer.max_steps=2")[1:]
    one = RecipeRun(
        tmp_path / "run",
        (
            *(str(word) for word in arguments if not str(word).startswith("--run.dir")),
            *("--trainer.val_check_interval=2", "--trainer.check_val_every_n_epoch=null"),
        ),
    ).finish()
    log = (one.path / "metrics.jsonl").read_bytes()

    assert one.is_finished
    assert one.minutes > 0
    assert set(one.scores) >= {"map", "map_50", "map_75"}
    one.finish()
    assert (one.path / "metrics.jsonl").read_bytes() == log
