"""Keep the last checkpoints and the best one of a run."""

import math
import os
from pathlib import Path
from typing import Any, Literal

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn

from lit_detseg.callbacks.continuation import log_step, postpone_validation, validate_at_once
from lit_detseg.runs.checkpoints import (
    BEST_NAME,
    check_checkpoint,
    checksum_path,
    copy_checkpoint,
    numbered_checkpoints,
    remove_checkpoint,
    step_name,
    step_of,
)
from lit_detseg.runs.directory import RunDirectory, git_revision

CHECKPOINT_FORMAT = 1


class RunCheckpoint(Checkpoint):
    """Save `checkpoints/step-<global step>.ckpt` now and then, and `best.ckpt`.

    Saved are: every `every_n_steps` optimiser steps, after each validation, and at the end. What
    an attempt that continues the run does next is exactly what this one would have done, a
    validation that was about to begin included. Use it with the `AtomicCheckpointIO` plugin.

    A run of no step (`max_steps` 0) validates the weights it starts from, and saves them.

    Whatever saves a checkpoint, it holds under `lit_detseg` the run id, label map, configuration,
    seed, code revision, total batch size and position of the run.

    Args:
        directory: the run; the Trainer's `default_root_dir` when not given.
        every_n_steps: optimiser steps (not batches) between two checkpoints.
        keep_last: how many numbered checkpoints stay.
        monitor: the logged score that makes a checkpoint the best; equal scores keep the earlier.
        mode: whether a higher (`max`) or a lower (`min`) score is better.

    Attributes:
        best_score: the best score so far; survives in the checkpoints.
        best_step: the global step it was measured at.
    """

    def __init__(
        self,
        directory: RunDirectory | str | Path | None = None,
        every_n_steps: int = 500,
        keep_last: int = 2,
        monitor: str = "val/map",
        mode: Literal["max", "min"] = "max",
    ) -> None:
        super().__init__()
        if every_n_steps < 1 or keep_last < 1:
            raise ValueError(
                f"every_n_steps = {every_n_steps} and keep_last = {keep_last}: use >= 1."
            )
        if isinstance(directory, (str, Path)):
            directory = RunDirectory(directory)
        self.directory = directory
        self.every_n_steps = every_n_steps
        self.keep_last = keep_last
        self.monitor = monitor
        self.mode = mode
        self.best_score: float | None = None
        self.best_step: int | None = None
        self._git_revision: str | None = None
        self._seen_step = 0
        self._saved_step: int | None = None
        self._owing = False

    @property
    def best_model_path(self) -> str:
        """Where Lightning looks for `ckpt_path="best"`; empty when there is none."""
        best = None if self.directory is None else self.directory.checkpoints / BEST_NAME
        return str(best) if best is not None and best.is_file() else ""

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Settle the directory."""
        if self.directory is None:
            self.directory = RunDirectory(trainer.default_root_dir)
        if stage != "fit" or not trainer.is_global_zero:
            return
        self._git_revision = git_revision()
        for leftover in self.directory.checkpoints.glob(".*.tmp"):  # of an attempt that was killed
            leftover.unlink(missing_ok=True)

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Do all there is to do when no step is to be taken."""
        if trainer.max_steps == 0:
            self.on_train_start(trainer, module)
            validate_at_once(trainer)
            self.on_train_end(trainer, module)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start counting from where the run continues, and note what the run is."""
        self._seen_step = trainer.global_step
        self._saved_step = trainer.global_step if trainer.global_step else None
        if trainer.is_global_zero:
            label_map = getattr(module, "label_map", None)
            if label_map is not None:
                self._run.write_label_map(label_map)
            self._run.note(
                resumed_from_step=trainer.global_step,
                world_size=trainer.world_size,
                total_batch_size=_total_batch_size(trainer),
                learning_rate=getattr(module, "learning_rate_note", None),
            )

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Save when it is time; never between the batches of one accumulated step."""
        step = trainer.global_step
        stepped, self._seen_step = step > self._seen_step, step
        if stepped and (step % self.every_n_steps == 0 or step == trainer.max_steps):
            log_step(trainer)
            self.save(trainer)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """The owed validation has begun: the limit of steps is the user's again."""
        if self._owing:
            self._owing = False
            trainer.fit_loop.epoch_loop.max_steps -= 1

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save, and say whether it is the best."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or _is_trial(trainer):
            return
        is_best = trainer.strategy.broadcast(self._is_best(trainer))
        best = self._run.checkpoints / BEST_NAME
        if trainer.fit_loop._should_accumulate():  # half of a step exists as gradients only
            if is_best:
                trainer.save_checkpoint(best, weights_only=False)
            return
        path = self.save(trainer)
        if is_best and trainer.is_global_zero:
            copy_checkpoint(path, best)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save the end, unless a checkpoint already has it."""
        if self._saved_step != trainer.global_step:
            self.save(trainer)
        self._end_attempt(trainer, "stopped" if trainer.should_stop else "finished")

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Close the attempt that found nothing left to do: its training did not even begin."""
        if trainer.is_global_zero and self._run.status == "running":
            self._end_attempt(trainer, "finished")

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        """Note in `run.json` how the attempt ended. The last checkpoint is where to go on from."""
        if trainer.state.fn == "fit":
            self._end_attempt(trainer, f"failed: {type(exception).__name__}")

    def save(self, trainer: Trainer) -> Path:
        """Write the numbered checkpoint of this step, then delete those no longer kept.

        To be called on all ranks, between optimiser steps.

        Returns:
            Where it is.
        """
        path = self._run.checkpoints / step_name(trainer.global_step)
        if _is_trial(trainer):
            return path
        trainer.save_checkpoint(path, weights_only=False)  # ends with a barrier
        self._saved_step = trainer.global_step
        if trainer.is_global_zero:
            check_checkpoint(path)  # read back before anything older goes
            self._tidy(path)
        return path

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what the run needs to go on, in plain types."""
        owing = postpone_validation(trainer, checkpoint)
        if not trainer.is_global_zero:
            return
        label_map = getattr(module, "label_map", None)
        config = self._run.config_file
        checkpoint.setdefault("lit_detseg", {}).update(
            format=CHECKPOINT_FORMAT,
            run_id=self._run.run_id,
            label_map=None if label_map is None else label_map.to_json(),
            config=None if config is None else config.read_text(encoding="utf-8"),
            seed=_seed(trainer),
            git_revision=self._git_revision,
            global_step=trainer.global_step,
            epoch_position=_epoch_position(trainer),
            total_batch_size=_total_batch_size(trainer),
            owes_validation=owing,
            ema=None,
        )

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Make room for a validation that the very last step still owes.

        At `max_steps` Lightning would not even start: it gets one step more until the validation
        has begun.
        """
        owing = checkpoint.get("lit_detseg", {}).get("owes_validation", False)
        fitting = trainer.state.fn == TrainerFn.FITTING
        if owing and fitting and checkpoint["global_step"] == trainer.max_steps:
            self._owing = True
            trainer.fit_loop.epoch_loop.max_steps += 1

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return {"monitor": self.monitor, "score": self.best_score, "step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best so far, if it is of the same score."""
        if state_dict["monitor"] == self.monitor:
            self.best_score, self.best_step = state_dict["score"], state_dict["step"]

    @property
    def _run(self) -> RunDirectory:
        assert self.directory is not None, "setup has not been called"
        return self.directory

    def _end_attempt(self, trainer: Trainer, status: str) -> None:
        if trainer.is_global_zero:
            self._run.end_attempt(status, ended_at_step=trainer.global_step, best=self.state_dict())

    def _is_best(self, trainer: Trainer) -> bool:
        """Compare with the best so far, and remember."""
        logged = trainer.callback_metrics.get(self.monitor)
        if logged is None or math.isnan(logged):
            scores = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
            what = "was not logged" if logged is None else "is NaN"
            rank_zero_warn(
                f"At step {trainer.global_step}, {self.monitor} {what}: {BEST_NAME} stays as it "
                f"is. Logged: {', '.join(scores) or 'nothing under val/'}; set `monitor` to one."
            )
            return False
        score, best = float(logged), self.best_score
        if best is not None and (score <= best if self.mode == "max" else score >= best):
            return False
        self.best_score, self.best_step = score, trainer.global_step
        return True

    def _tidy(self, newest: Path) -> None:
        """Delete what `keep_last` does not keep; set aside what belongs to an abandoned future."""
        numbered = numbered_checkpoints(newest.parent)
        ahead = [path for path in numbered if step_of(path) > step_of(newest)]
        for path in ahead:
            path.rename(path.with_suffix(".ckpt.abandoned"))
            checksum_path(path).unlink(missing_ok=True)
        if ahead:
            names = ", ".join(path.name for path in ahead)
            rank_zero_warn(f"The run went back to an earlier step: {names} renamed to *.abandoned.")
        kept = [path for path in numbered if path not in ahead]
        for path in kept[: -self.keep_last]:
            remove_checkpoint(path)


def _epoch_position(trainer: Trainer) -> dict[str, int]:
    """Completed epochs, and batches of one rank done in the epoch under way."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    done = 0 if epochs.ready == epochs.processed else batches.processed
    return {"epoch": trainer.current_epoch, "batches": done}


def _seed(trainer: Trainer) -> int | None:
    seed = getattr(_data_module(trainer), "seed", None) or os.environ.get("PL_GLOBAL_SEED")
    return None if seed is None else int(seed)


def _total_batch_size(trainer: Trainer) -> int | None:
    return getattr(_data_module(trainer), "total_batch_size", None)


def _is_trial(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))


def _data_module(trainer: Trainer) -> Any:
    return getattr(trainer, "datamodule", None)
