"""What has to be true of a checkpoint so that what is continued is what would have been done.

Lightning saves in `on_train_batch_end` before it has logged the step and before it has begun a
validation that is due; both would be missing from a run that is killed there and continued.
"""

from typing import Any

from lightning import Trainer

from lit_detseg.runs.metrics_log import MetricsLog


def log_step(trainer: Trainer) -> None:
    """Put the step's numbers into `metrics.jsonl` before a checkpoint says that it is done.

    Lightning logs them after `on_train_batch_end`; whoever kills the run in between would leave a
    hole in the curves. (`MetricsLog` knows a line that it gets twice.)
    """
    connector = trainer._logger_connector
    if not connector.should_update_logs or trainer.fit_loop._should_accumulate():
        return
    values = {name: float(value) for name, value in connector.metrics["log"].items()}
    values["epoch"] = trainer.current_epoch
    for logger in trainer.loggers:
        if isinstance(logger, MetricsLog):
            logger.log_metrics(values, step=trainer.fit_loop.epoch_loop._batches_that_stepped)


def postpone_validation(trainer: Trainer, checkpoint: dict[str, Any]) -> bool:
    """Let a checkpoint taken right before a validation begin with that validation.

    Lightning takes "all batches of this epoch done" for "this epoch is over" and would never run
    it. It does go back to a validation that was interrupted: we say that it was, at its first
    batch. Only for checkpoints of `on_train_batch_end`, the one moment in which this happens.

    Returns:
        Whether the checkpoint is such a one.
    """
    epoch_loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    progress: Any = epoch_loop.batch_progress.total
    in_batch_end = progress.completed == progress.processed - 1
    clock_decides = getattr(trainer, "_val_check_time_interval", None) is not None
    if not in_batch_end or fetcher is None or trainer.should_stop or clock_decides:
        return False
    if not epoch_loop._should_check_val_fx(fetcher):
        return False
    loops = checkpoint["loops"]["fit_loop"]
    for counts in ("total", "current"):
        training = loops["epoch_loop.batch_progress"][counts]
        training["completed"] = training["processed"]
        started = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
        loops["epoch_loop.val_loop.batch_progress"][counts].update(started)
    loops["epoch_loop.val_loop.batch_progress"]["is_last_batch"] = False
    return True


def validate_at_once(trainer: Trainer) -> None:
    """Run a validation now, inside `fit` and outside of an epoch, if there is anything to run on.

    To be called on all ranks, when the model is on its device.
    """
    trainer.validating = True  # so that the trainer looks at the right loop
    trainer.fit_loop.epoch_loop.val_loop.run()
    trainer.training = True
