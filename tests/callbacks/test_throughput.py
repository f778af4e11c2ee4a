"""Images per second and the share of waiting, of a loader and a step of known slowness."""

import time

import pytest

from lit_detseg.callbacks.checkpoint import RunCheckpoint
from lit_detseg.callbacks.throughput import Throughput
from lit_detseg.runs.metrics_log import MetricsLog, read_metrics
from tests.callbacks.tiny import IMAGES, Positions, TinyModule, tiny_trainer

WAIT, WORK = 0.03, 0.01  # seconds per batch


class SlowPositions(Positions):
    def __iter__(self):
        for batch in super().__iter__():
            time.sleep(WAIT)
            yield batch


class SlowModule(TinyModule):
    def training_step(self, batch, batch_index):
        time.sleep(WORK)
        return super().training_step(batch, batch_index)

    def train_dataloader(self):
        return SlowPositions(self, self.batches)

    def on_validation_epoch_end(self):
        time.sleep(0.2)


def test_speed_and_waiting_are_those_of_the_loop(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    throughput = Throughput()
    options = {"logger": log, "log_every_n_steps": 4, "max_epochs": 3}

    checkpoint = RunCheckpoint(tmp_path)  # after validations only
    tiny_trainer(tmp_path, throughput, checkpoint, **options).fit(SlowModule())

    curves = read_metrics(log.path)
    assert [step for step, _ in curves["train/images_per_second"]] == [3, 7, 11]
    # Four batches and, after a validation, three waits: the wait in which it fell is not counted.
    seconds = 4 * WORK + 3 * WAIT
    for (_, speed), (_, waiting) in zip(
        curves["train/images_per_second"], curves["train/data_wait_fraction"], strict=True
    ):
        assert speed == pytest.approx(4 * IMAGES / seconds, rel=0.5)
        assert speed < 4 * IMAGES / seconds
        assert waiting == pytest.approx(3 * WAIT / seconds, abs=0.15)
    assert throughput.images_per_second == curves["train/images_per_second"][-1][1]


def test_the_learning_rate_is_that_of_the_step(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    trainer = tiny_trainer(tmp_path, Throughput(), logger=log, log_every_n_steps=1)

    trainer.fit(TinyModule(batches=5))  # 0.05, halved after 3 and after 8 steps

    rates = [rate for _, rate in read_metrics(log.path)["train/learning_rate"]]
    assert rates == [0.05] * 3 + [0.025] * 5 + [0.0125] * 2


def test_accumulated_batches_are_counted_once_per_step(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    options = {"logger": log, "log_every_n_steps": 1, "accumulate_grad_batches": 2}
    tiny_trainer(tmp_path, Throughput(), **options).fit(TinyModule(batches=4))
    steps = [step for step, _ in read_metrics(log.path)["train/images_per_second"]]
    assert steps == [0, 1, 2, 3]
