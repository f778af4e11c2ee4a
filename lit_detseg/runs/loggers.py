"""The dashboards of a run: our own log and TensorBoard always, W&B where it makes sense.

W&B never blocks a run and never asks: it is online only when an API key is known and its server
answers within seconds, otherwise offline, and a failure to start costs one warning.
"""

import netrc
import os
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from lit_detseg.runs.directory import RunDirectory
from lit_detseg.runs.metrics_log import MetricsLog

PROBE_SECONDS = 3.0
START_SECONDS = 60.0  # for W&B's first contact with its server
DEFAULT_HOST = "https://api.wandb.ai"

WandbMode = Literal["disabled", "offline", "online"]


def run_loggers(
    directory: RunDirectory, attempt: int = 1, project: str = "lit_detseg"
) -> list[Logger]:
    """What the Trainer logs to.

    Args:
        directory: the run; everything is written inside it.
        attempt: number of this attempt, from `RunDirectory.start_attempt`.
        project: project name on the W&B dashboard.

    Returns:
        `MetricsLog`, TensorBoard and, on rank zero and unless `WANDB_MODE=disabled`, W&B.
    """
    loggers: list[Logger] = [
        MetricsLog(directory.metrics_file, attempt),
        TensorBoardLogger(
            directory.path, name="", version=directory.tensorboard.name, default_hp_metric=False
        ),
    ]
    mode = wandb_mode()
    board = None if mode == "disabled" else _start_wandb(directory, project, mode)
    return loggers if board is None else [*loggers, board]


def wandb_mode() -> WandbMode:
    """What to ask of W&B: `WANDB_MODE` decides, otherwise what is possible here and now.

    Even `WANDB_MODE=online` becomes offline where no API key is known, because W&B would ask for
    one on the terminal.
    """
    asked = os.environ.get("WANDB_MODE", "").lower()
    if asked == "disabled" or os.environ.get("WANDB_DISABLED", "").lower() in {"1", "true"}:
        return "disabled"
    if asked in {"offline", "dryrun"}:
        return "offline"
    host = os.environ.get("WANDB_BASE_URL", DEFAULT_HOST)
    if not _knows_api_key(host):
        return "offline"
    return "online" if asked or _answers(host) else "offline"


@rank_zero_only
def _start_wandb(directory: RunDirectory, project: str, mode: WandbMode) -> Logger | None:
    folder = directory.path / "wandb"
    try:
        import wandb

        _keep_inside(folder, mode)
        if wandb.run is not None and wandb.run.id != directory.run_id:
            wandb.finish()  # of a run trained earlier in this process
        run = wandb.init(
            project=project,
            dir=directory.path,
            id=directory.run_id,  # with `resume`, all attempts are one run on the dashboard
            resume="allow",
            name=directory.path.resolve().name,
            config=_stored_config(directory),
            allow_val_change=True,  # a continued run may have been given another learning rate
            mode=mode,
            settings=wandb.Settings(
                silent=True, quiet=True, console="off", init_timeout=START_SECONDS
            ),
        )
        run.define_metric("trainer/global_step")  # the name under which Lightning logs it
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    except Exception as error:  # whatever it is, training goes on
        rank_zero_warn(f"W&B did not start ({type(error).__name__}: {error}): going on without.")
        return None
    upload = (
        f", upload later with: wandb sync {folder.resolve()}/offline-run-*"
        if mode == "offline"
        else ""
    )
    rank_zero_info(f"W&B: {mode}{upload}")
    return WandbLogger(save_dir=directory.path, project=project, experiment=run, log_model=False)


def _stored_config(directory: RunDirectory) -> dict[str, Any]:
    file = directory.config_file
    return {} if file is None else yaml.safe_load(file.read_text(encoding="utf-8")) or {}


def _keep_inside(folder: Path, mode: WandbMode) -> None:
    """Caches go to the run directory: $HOME has a quota on clusters."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "data"))
    os.environ.setdefault("WANDB_CACHE_DIR", str(folder / "cache"))
    if mode == "offline":  # online, the user's settings name the server and the team
        os.environ.setdefault("WANDB_CONFIG_DIR", str(folder / "config"))


def _knows_api_key(host: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(file)).authenticators(_name(host)) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _answers(host: str) -> bool:
    """Whether the server, through the proxy if there is one, answers within `PROBE_SECONDS`."""
    answered = threading.Event()

    def probe() -> None:
        try:
            urllib.request.urlopen(host, timeout=PROBE_SECONDS).close()
        except urllib.error.HTTPError:
            pass  # an error page is an answer
        except (OSError, ValueError):
            return
        answered.set()

    # In a thread, because a name server that does not answer ignores the time-out.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return answered.is_set()


def _name(host: str) -> str:
    return urllib.parse.urlsplit(host).hostname or host
