"""Checkpoints of a real trainer: what is continued is what would have been done."""

import math

import pytest
import torch

from lit_detseg.callbacks.checkpoint import RunCheckpoint
from lit_detseg.runs.checkpoints import load_checkpoint, newest_valid_checkpoint
from lit_detseg.runs.directory import RunDirectory
from lit_detseg.runs.metrics_log import MetricsLog, read_metrics
from tests.callbacks.tiny import Diary, StoppedError, TinyModule, tiny_trainer

PLANS = {
    "a validation per epoch": {},
    "a validation inside the epoch": {"val_check_interval": 2},
    "a validation every other epoch": {"check_val_every_n_epoch": 2},
    "two batches per step": {"accumulate_grad_batches": 2},
    "steps, not epochs": {"max_epochs": -1, "max_steps": 6},
    "the last step owes a validation": {"max_epochs": -1, "max_steps": 8},
}


def train(directory, stop=None, resume=None, **options):
    """One attempt: what began, and the weights at its end."""
    module, diary = TinyModule(), Diary(stop)
    trainer = tiny_trainer(directory, diary, **options)
    if stop is None:
        trainer.fit(module, ckpt_path=resume)
    else:
        with pytest.raises(StoppedError):
            trainer.fit(module)
    return diary.events, module.weights.detach().clone(), trainer


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_a_run_stopped_anywhere_goes_on_as_if_it_had_not_been(plan, tmp_path):
    expected, weights, _ = train(tmp_path / "whole", **plan)
    accumulate = plan.get("accumulate_grad_batches", 1)

    for stop in range(accumulate, len(expected)):
        run = tmp_path / str(stop)
        train(run, stop, **plan)
        newest = newest_valid_checkpoint(run / "checkpoints")
        events, continued, _ = train(run, resume=newest, **plan)

        begun = len(expected) - len(events)
        assert events == expected[begun:], f"stopped before {expected[stop]}"
        repeated = stop - begun  # the batches of an unfinished step
        assert 0 <= repeated <= accumulate - 1, f"stopped before {expected[stop]}"
        assert torch.equal(continued, weights)


class Killer(TinyModule):
    """Stops when all callbacks are through with a batch, before Lightning logs its numbers."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, *arguments):
        if self.trainer.global_step == self.step:
            raise StoppedError


def test_a_step_that_a_checkpoint_has_is_in_the_log_too(tmp_path):
    def fit(module, resume=None):
        log = MetricsLog(tmp_path / "metrics.jsonl")
        tiny_trainer(tmp_path, logger=log, log_every_n_steps=1).fit(module, ckpt_path=resume)

    with pytest.raises(StoppedError):
        fit(Killer(step=3))
    newest = newest_valid_checkpoint(tmp_path / "checkpoints")
    assert newest.name == "step-00000003.ckpt"
    fit(TinyModule(), newest)

    steps = [step for step, _ in read_metrics(tmp_path / "metrics.jsonl")["train/loss"]]
    assert steps == list(range(8))
    lines = (tmp_path / "metrics.jsonl").read_text().count("train/loss")
    assert lines == 8  # none twice


def test_a_finished_run_can_be_given_more_epochs(tmp_path):
    expected, weights, _ = train(tmp_path / "whole", max_epochs=3)
    train(tmp_path / "run", max_epochs=2)

    newest = newest_valid_checkpoint(tmp_path / "run/checkpoints")
    events, continued, _ = train(tmp_path / "run", resume=newest, max_epochs=3)

    assert events == expected[-5:]  # four batches and a validation
    assert torch.equal(continued, weights)


def test_the_last_ones_and_the_best_stay(tmp_path):
    checkpoint = RunCheckpoint(tmp_path, every_n_steps=3, keep_last=2)
    module = TinyModule(scores=[0.2, 0.5, 0.5])  # after steps 4, 8 and 12

    tiny_trainer(tmp_path, checkpoint, max_epochs=3).fit(module)

    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.ckpt"))
    assert names == ["best.ckpt", "step-00000009.ckpt", "step-00000012.ckpt"]
    assert load_checkpoint(tmp_path / "checkpoints/best.ckpt")["global_step"] == 8  # not the tie
    assert (checkpoint.best_score, checkpoint.best_step) == (0.5, 8)
    assert checkpoint.best_model_path == str(tmp_path / "checkpoints/best.ckpt")


def test_the_best_score_survives_and_lower_can_be_better(tmp_path):
    first = RunCheckpoint(tmp_path, mode="min")
    tiny_trainer(tmp_path, first, max_epochs=1).fit(TinyModule(scores=[0.25]))

    second = RunCheckpoint(tmp_path, mode="min")
    newest = newest_valid_checkpoint(tmp_path / "checkpoints")
    tiny_trainer(tmp_path, second, max_epochs=2).fit(TinyModule(scores=[0.5]), ckpt_path=newest)

    assert (second.best_score, second.best_step) == (0.25, 4)


def test_the_scores_of_a_sanity_check_do_not_count(tmp_path):
    checkpoint = RunCheckpoint(tmp_path)
    trainer = tiny_trainer(tmp_path, checkpoint, num_sanity_val_steps=1, max_epochs=1)
    trainer.fit(TinyModule(scores=[0.125]))
    assert (checkpoint.best_score, checkpoint.best_step) == (0.125, 4)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        pytest.param([], "val/map was not logged", id="missing"),
        pytest.param([math.nan], "val/map is NaN", id="NaN"),
    ],
)
def test_without_a_score_there_is_no_best_and_a_warning_says_so(scores, message, tmp_path):
    with pytest.warns(UserWarning, match=message):
        tiny_trainer(tmp_path, max_epochs=1).fit(TinyModule(scores=scores))
    assert not (tmp_path / "checkpoints/best.ckpt").exists()
    assert (tmp_path / "checkpoints/step-00000004.ckpt").exists()


def test_a_checkpoint_says_which_run_it_is_of(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.write_config("model: tiny\n")
    stopped = Diary(stop=7)  # four batches, a validation, two batches
    module = TinyModule()
    with pytest.raises(StoppedError):
        tiny_trainer(tmp_path, stopped, RunCheckpoint(directory, every_n_steps=1)).fit(module)

    stored = load_checkpoint(tmp_path / "checkpoints/step-00000006.ckpt")["lit_detseg"]

    assert stored["run_id"] == directory.run_id
    assert stored["label_map"] == {"names": ["circle", "square"], "source_ids": None}
    assert stored["config"] == "model: tiny\n"
    assert stored["global_step"] == 6
    assert stored["epoch_position"] == {"epoch": 1, "batches": 2}
    assert stored["format"] == 1
    assert stored["ema"] is None
    assert set(stored) >= {"seed", "git_revision", "total_batch_size"}


def test_going_back_sets_the_abandoned_future_aside(tmp_path):
    first = RunCheckpoint(tmp_path, every_n_steps=1, keep_last=3)
    tiny_trainer(tmp_path, first).fit(TinyModule())  # leaves steps 6, 7 and 8

    trainer = tiny_trainer(tmp_path, max_steps=7)
    with pytest.warns(UserWarning, match=r"step-00000008.ckpt renamed to \*.abandoned"):
        trainer.fit(TinyModule(), ckpt_path=tmp_path / "checkpoints/step-00000006.ckpt")

    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("step*[!6]"))  # no .sha256
    assert names == ["step-00000006.ckpt", "step-00000007.ckpt", "step-00000008.ckpt.abandoned"]


def test_run_json_tells_how_each_attempt_went(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.start_attempt()
    train(tmp_path, stop=3)
    directory.start_attempt()
    train(tmp_path, resume=newest_valid_checkpoint(directory.checkpoints))

    first, second = directory.attempts

    assert (first["status"], first["ended_at_step"]) == ("failed: StoppedError", 3)
    assert (second["status"], second["ended_at_step"]) == ("finished", 8)
    assert (first["resumed_from_step"], second["resumed_from_step"]) == (0, 3)
    assert second["world_size"] == 1
    assert directory.label_map_file.is_file()


def test_a_run_of_no_step_validates_and_stores_what_it_starts_from(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.start_attempt()
    events, weights, _ = train(tmp_path, max_epochs=-1, max_steps=0)

    assert [event[0] for event in events] == ["validate"]
    for name in ("step-00000000.ckpt", "best.ckpt"):
        stored = load_checkpoint(directory.checkpoints / name)
        assert torch.equal(stored["state_dict"]["weights"], weights)
        assert stored["global_step"] == 0
    ended = directory.attempts[-1]
    assert ended["status"] == "finished"
    assert ended["best"] == {"monitor": "val/map", "score": 0.0, "step": 0}


def test_a_run_of_no_step_and_without_validation_stores_it_all_the_same(tmp_path):
    _, weights, _ = train(tmp_path, max_epochs=-1, max_steps=0, limit_val_batches=0)
    stored = load_checkpoint(tmp_path / "checkpoints/step-00000000.ckpt")
    assert torch.equal(stored["state_dict"]["weights"], weights)


def test_an_attempt_that_finds_nothing_left_to_do_is_finished(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.start_attempt()
    train(tmp_path, max_epochs=-1, max_steps=4)
    directory.start_attempt()
    train(tmp_path, resume=directory.checkpoints / "step-00000004.ckpt", max_epochs=-1, max_steps=4)
    assert [one["status"] for one in directory.attempts] == ["finished", "finished"]
    assert directory.attempts[1]["ended_at_step"] == 4


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="keep_last = 0"):
        RunCheckpoint(keep_last=0)
