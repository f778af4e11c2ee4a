"""The log of all numbers: nothing lost, and one curve over all attempts."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.runs.metrics_log import MetricsLog, read_metrics
from tests.callbacks.tiny import TinyModule, tiny_trainer


def test_a_line_holds_one_call(tmp_path):
    log = MetricsLog(tmp_path / "run/metrics.jsonl", attempt=2)
    log.log_metrics({"train/loss": torch.tensor(0.1), "val/map": 1 / 3, "epoch": 4}, step=9)

    line = json.loads((tmp_path / "run/metrics.jsonl").read_text())

    assert line.pop("time") > 1.7e9  # seconds since 1970
    values = {"train/loss": float(torch.tensor(0.1)), "val/map": 1 / 3}
    assert line == {"attempt": 2, "step": 9, "epoch": 4, "values": values}


@given(st.floats())
def test_every_float_comes_back_exactly(value):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        log = MetricsLog(f"{folder}/metrics.jsonl")
        log.log_metrics({"x": value}, step=0)
        log.finalize("success")
        [(_, read)] = read_metrics(log.path)["x"]
    assert read == value or (math.isnan(read) and math.isnan(value))


def test_the_file_is_strict_json(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.log_metrics({"a": math.nan, "b": math.inf, "c": -math.inf}, step=0)
    values = json.loads(log.path.read_text())["values"]
    assert values == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}


def test_a_continued_run_is_one_curve(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first, second = MetricsLog(path, attempt=1), MetricsLog(path, attempt=2)
    for step in range(6):
        first.log_metrics({"loss": step}, step)
    for step in range(4, 8):  # the last checkpoint was that of step 4
        second.log_metrics({"loss": 10 + step}, step)
    second.log_metrics({"loss": 99}, 7)
    second.log_metrics({"val/map": 0.5}, 7)

    curves = read_metrics(path)

    assert curves["loss"] == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 14), (5, 15), (6, 16), (7, 99)]
    assert curves["val/map"] == [(7, 0.5)]


def test_a_kill_costs_at_most_the_torn_line(tmp_path):
    code = (
        "import os; from lit_detseg.runs.metrics_log import MetricsLog\n"
        f"log = MetricsLog({str(tmp_path / 'metrics.jsonl')!r})\n"
        "for step in range(100): log.log_metrics({'x': step}, step)\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    path = tmp_path / "metrics.jsonl"
    assert len(read_metrics(path)["x"]) == 100

    os.truncate(path, path.stat().st_size - 5)
    assert len(read_metrics(path)["x"]) == 99  # silently: it may still be growing

    MetricsLog(path, attempt=2).log_metrics({"x": -1}, 99)
    with pytest.warns(UserWarning, match="line 100 is incomplete"):
        curve = read_metrics(path)["x"]
    assert curve[-2:] == [(98, 98), (99, -1)]


def test_a_trainer_writes_it(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    trainer = tiny_trainer(tmp_path, logger=log, log_every_n_steps=2)
    trainer.fit(TinyModule(scores=[0.25, 0.5]))

    curves = read_metrics(log.path)

    assert [step for step, _ in curves["train/loss"]] == [1, 3, 5, 7]
    assert curves["val/map"] == [(3, 0.25), (7, 0.5)]
    assert (log.name, log.version, log.save_dir) == (tmp_path.name, 1, str(tmp_path))
