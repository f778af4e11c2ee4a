"""`fit --stages`, killed in every stage: the same command ends where nobody killed it."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch

from lit_detseg.cli.main import main
from lit_detseg.runs.directory import RunDirectory
from tests.conftest import REPOSITORY
from tests.e2e.commands import run_command
from tests.toy_stages import FOLDERS, weights_of_stages, write_toy_stages

KILLER = "tests.training_aids.KillAfterStep"
HOLD = "tests.training_aids.HoldAtStep"


@pytest.fixture(scope="module")
def sequence(shards, tmp_path_factory):
    """The stage file, the run that nobody disturbed, and what that printed."""
    folder = tmp_path_factory.mktemp("stages")
    file = write_toy_stages(folder / "toy.yaml", shards)
    result = run_command("fit", "--stages", file, "--run.dir", folder / "undisturbed")
    return file, folder / "undisturbed", result.stdout


def test_every_stage_starts_from_the_one_before_and_is_in_the_table(sequence):
    _, run, printed = sequence
    weights = weights_of_stages(run)
    said = [line for line in printed.splitlines() if line.startswith("Stage ")]
    assert said == [
        "Stage 1 of 3, first: started.",
        "Stage 2 of 3, second: started.",
        "Stage 3 of 3, joined: started.",
    ]
    assert [line.split()[1:4] for line in printed.splitlines() if "_" in line and "│" in line] == [
        ["01_first", "│", "4"],
        ["02_second", "│", "4"],
        ["03_joined", "│", "0"],
    ]
    moved = [
        (weights["02_second"][n] - value).abs().max() for n, value in weights["01_first"].items()
    ]
    fresh = weights["01_first"]["model.trunk.0.weight"].abs().max()
    assert 0 < max(moved) < fresh  # it went on from there


def test_joined_weights_are_exactly_the_parts(sequence):
    first, second, joined = weights_of_stages(sequence[1]).values()
    for name, value in joined.items():
        assert torch.equal(value, (second if ".trunk." in name else first)[name]), name


def test_a_stage_without_steps_has_a_score_and_a_best_checkpoint(sequence):
    run = RunDirectory(sequence[1] / "03_joined")
    best = run.attempts[-1]["best"]
    assert (best["monitor"], best["step"]) == ("val/map", 0)
    assert 0 <= best["score"] <= 1
    assert (run.checkpoints / "best.ckpt").is_file()


@pytest.mark.timeout(600)  # seven processes, one after the other
def test_killed_in_every_stage_it_ends_with_the_same_weights(sequence, tmp_path):
    file, undisturbed, _ = sequence
    command = ["fit", "--stages", file, "--run.dir", tmp_path / "run"]

    killer = (f"--first.trainer.callbacks={KILLER}", "--first.trainer.callbacks.step=3")
    killed = run_command(*command, *killer, check=False)
    assert killed.returncode == 128 + 9
    assert "Stage first ended with exit code 137" in killed.stderr

    sign = tmp_path / "sign"
    hold = (f"--second.trainer.callbacks={HOLD}", "--second.trainer.callbacks.step=3")
    kill_runner(command, *hold, f"--second.trainer.callbacks.sign={sign}", sign=sign)

    last = run_command(*command)
    said = [line for line in last.stdout.splitlines() if line.startswith("Stage ")]
    assert said == [
        "Stage 1 of 3, first: finished before, skipped.",
        "Stage 2 of 3, second: continued.",
        "Stage 3 of 3, joined: started.",
    ]
    second = RunDirectory(tmp_path / "run/02_second").attempts
    assert [one["status"] for one in second] == ["killed", "finished"]
    assert second[1]["resumed_from_step"] == 2
    expected = weights_of_stages(undisturbed)
    for folder, weights in weights_of_stages(tmp_path / "run").items():
        assert all(torch.equal(value, expected[folder][n]) for n, value in weights.items()), folder


def kill_runner(command, *more, sign):
    """Start a sequence, wait until a stage of it holds still, kill the program that runs it."""
    with open(os.devnull, "w") as nowhere:
        runner = subprocess.Popen(
            [sys.executable, "-m", "lit_detseg", *map(str, [*command, *more])],
            cwd=REPOSITORY,
            env={**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"},
            stdout=nowhere,
            stderr=nowhere,
        )
    deadline = time.monotonic() + 200
    while not sign.is_file():
        assert runner.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline, "it did not get there"
        time.sleep(0.1)
    runner.kill()
    runner.wait()


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(["fit", *map(str, arguments)])
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def finished(sequence, tmp_path):
    """A copy of the finished run, to spoil."""
    file, run, _ = sequence
    shutil.copytree(run, tmp_path / "run")
    shutil.copy(file, tmp_path / "toy.yaml")
    return tmp_path / "toy.yaml", tmp_path / "run"


def test_a_finished_sequence_is_finished(finished, capsys):
    file, run = finished
    main(["fit", "--stages", str(file), "--run.dir", str(run)])
    printed = capsys.readouterr().out
    assert printed.count("finished before, skipped.") == 3
    assert all(folder in printed for folder in FOLDERS)


def test_another_stage_file_does_not_pass_for_the_one_that_was_trained(finished, capsys):
    file, run = finished
    file.write_text(file.read_text().replace("lr: 0.5", "lr: 0.25"))
    said = refused(capsys, "--stages", file, "--run.dir", run)
    assert "01_first was made from another" in said
    assert "model.init_args.optimizer.init_args.lr was 0.5 and is 0.25" in said


def test_a_stage_trained_again_asks_for_those_behind_it(finished, capsys):
    file, run = finished
    shutil.rmtree(run / "01_first")
    said = refused(capsys, "--stages", file, "--run.dir", run)
    assert "02_second was made from an earlier 01_first" in said


def test_the_run_of_a_stage_that_is_gone_is_named(finished, capsys):
    file, run = finished
    (run / "03_joined").rename(run / "03_together")
    assert "holds 03_together" in refused(capsys, "--stages", file, "--run.dir", run)


def test_a_mistake_in_a_later_stage_is_found_before_the_first_begins(sequence, tmp_path):
    wrong = "--second.model.optimizer.learning_rate=1"
    command = ("fit", "--stages", sequence[0], "--run.dir", tmp_path / "run", wrong)
    result = run_command(*command, check=False)
    assert result.returncode == 2
    assert "toy.yaml, stage 2 (second): " in result.stderr
    assert "learning_rate" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_stage_that_fails_stops_the_sequence_with_its_message(sequence, tmp_path):
    wrong = "--first.data.train=/no/where"
    command = ("fit", "--stages", sequence[0], "--run.dir", tmp_path / "run", wrong)
    result = run_command(*command, check=False)
    assert result.returncode == 2
    assert "/no/where is not a shard set" in result.stderr
    assert "Stage first ended with exit code 2" in result.stderr
    assert "Traceback" not in result.stderr
    assert "second" not in result.stdout


def test_a_trial_run_leaves_nothing_to_go_on_from(sequence, tmp_path):
    file, _, _ = sequence
    trial = "--trainer.fast_dev_run=1"
    result = run_command("fit", "--stages", file, "--run.dir", tmp_path / "run", trial, check=False)
    assert result.returncode == 2
    assert "Stage first has left no checkpoint" in result.stderr
    assert json.loads((tmp_path / "run/01_first/run.json").read_text())["attempts"]
