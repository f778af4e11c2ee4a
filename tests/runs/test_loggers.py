"""Which dashboards a run writes to, and that W&B can never stop or stall it."""

import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_detseg.runs import loggers as under_test
from lit_detseg.runs.directory import RunDirectory
from lit_detseg.runs.loggers import run_loggers, wandb_mode
from lit_detseg.runs.metrics_log import MetricsLog, read_metrics


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """No W&B settings, no API key, no proxy; all of it restored afterwards."""
    names = ("MODE", "DISABLED", "API_KEY", "IDENTITY_TOKEN_FILE", "BASE_URL")
    folders = ("DATA_DIR", "CACHE_DIR", "CONFIG_DIR")
    for name in (*names, *folders):
        monkeypatch.setenv(f"WANDB_{name}", "")
        monkeypatch.delenv(f"WANDB_{name}")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(under_test, "PROBE_SECONDS", 0.5)


@pytest.fixture
def server():
    """The address of a web server that answers every request with an error page."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("asked", "key", "mode"),
    [
        pytest.param("disabled", True, "disabled", id="disabled"),
        pytest.param("offline", True, "offline", id="offline although it could be online"),
        pytest.param("", True, "online", id="key and server"),
        pytest.param("", False, "offline", id="no key"),
        pytest.param("online", False, "offline", id="online, but W&B would ask for the key"),
        pytest.param("online", True, "online", id="online"),
    ],
)
def test_the_mode_follows_wish_key_and_server(asked, key, mode, server, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.setenv("WANDB_MODE", asked)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert wandb_mode() == mode


def test_a_key_in_netrc_counts_for_its_own_host_only(server, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password 0000\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert wandb_mode() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "http://localhost:1")
    assert wandb_mode() == "offline"


def test_a_server_that_does_not_answer_costs_half_a_second_here(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        start = time.monotonic()
        assert wandb_mode() == "offline"
        assert time.monotonic() - start < 2.0


def test_disabled_means_our_log_and_tensorboard(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    directory = RunDirectory(tmp_path)

    found = run_loggers(directory, attempt=3)
    for logger in found:
        logger.log_metrics({"val/map": 0.5}, step=7)
        logger.finalize("success")

    assert [type(logger) for logger in found] == [MetricsLog, TensorBoardLogger]
    assert read_metrics(directory.metrics_file) == {"val/map": [(7, 0.5)]}
    assert '"attempt": 3' in directory.metrics_file.read_text()
    [event] = EventAccumulator(str(directory.tensorboard)).Reload().Scalars("val/map")
    assert (event.step, event.value) == (7, 0.5)
    assert not (tmp_path / "wandb").exists()


def test_without_wandb_the_run_goes_on(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(UserWarning, match="W&B did not start .*: going on without"):
        found = run_loggers(RunDirectory(tmp_path))
    assert len(found) == 2


def test_two_offline_attempts_are_one_run(tmp_path, capfd):
    import wandb

    directory = RunDirectory(tmp_path / "my_run")
    directory.write_config("trainer: {max_steps: 5}\n")
    for attempt in (1, 2):
        found = run_loggers(directory, attempt, project="shapes")
        assert isinstance(found[-1], WandbLogger)
        found[-1].log_metrics({"train/loss": 0.25 * attempt}, step=attempt)
        wandb.finish()
        if attempt == 1:
            time.sleep(1.0)  # W&B names its folders by the second

    folders = sorted((directory.path / "wandb").glob("offline-run-*"))
    assert [folder.name.split("-")[-1] for folder in folders] == [directory.run_id] * 2
    rows = [row for folder in folders for row in inspect(folder)]
    assert {row["run"]["run_id"] for row in rows if row["type"] == "run"} == {directory.run_id}
    assert {row["run"]["project"] for row in rows if row["type"] == "run"} == {"shapes"}
    history = [row["history"]["item"] for row in rows if row["type"] == "history"]
    points = [(item["trainer/global_step"], item["train/loss"]) for item in history]
    assert points == [(1, 0.25), (2, 0.5)]
    assert "max_steps" in json.dumps(rows)
    assert "wandb:" not in "".join(capfd.readouterr())  # its own chatter


def inspect(folder: Path) -> list[dict]:
    [file] = folder.glob("*.wandb")
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(file)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in lines.splitlines()]
