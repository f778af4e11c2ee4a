"""A run is one directory, however often it was interrupted and continued.

    config.yaml          the resolved configuration of the first attempt
    config_<n>.yaml      that of attempt n, where it differs from the one before
    label_map.json       the classes
    run.json             run id, and one entry per attempt: when, where, which code, how it ended
    metrics.jsonl        every logged number
    checkpoints/  pictures/  tensorboard/  wandb/

Names:
    attempt: one process (or one group of ranks) that starts or continues the run, counted from 1.

Only rank zero writes here.
"""

import fcntl
import json
import os
import platform
import secrets
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap

RUN_FORMAT = 1


class RunDirectory:
    """Where the files of a run are, and its diary `run.json`.

    Nothing is created before `start_attempt` (or the first file is written).

    Args:
        path: the directory; made when needed, with its parents.

    Raises:
        UserError: when the path is a file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: int | None = None  # descriptor, open for as long as we run
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file, not a run directory. Give another --run.dir.")

    @property
    def checkpoints(self) -> Path:
        """`step-<global step>.ckpt` and `best.ckpt`."""
        return self.path / "checkpoints"

    @property
    def pictures(self) -> Path:
        """Validation images with their boxes."""
        return self.path / "pictures"

    @property
    def tensorboard(self) -> Path:
        """Event files of all attempts."""
        return self.path / "tensorboard"

    @property
    def metrics_file(self) -> Path:
        """The append-only log, read by `read_metrics`."""
        return self.path / "metrics.jsonl"

    @property
    def label_map_file(self) -> Path:
        """The classes."""
        return self.path / "label_map.json"

    @property
    def diary_file(self) -> Path:
        """Run id and attempts."""
        return self.path / "run.json"

    @property
    def is_used(self) -> bool:
        """Whether a run has left anything here that a new one would mix with."""
        written = self.metrics_file.is_file() and self.metrics_file.stat().st_size > 0
        return written or any(self.checkpoints.glob("*.ckpt"))

    @property
    def run_id(self) -> str:
        """Identity on dashboards and in checkpoints: drawn once, then always the same."""
        diary = self._diary()
        if not self.diary_file.is_file():
            self._write_diary(diary)
        return diary["run_id"]

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """The entries of `run.json`, oldest first."""
        return self._diary()["attempts"] if self.diary_file.is_file() else []

    @property
    def status(self) -> str | None:
        """How the newest attempt ended, see `end_attempt`; `running` before; None without any."""
        return self.attempts[-1]["status"] if self.attempts else None

    @property
    def config_file(self) -> Path | None:
        """The configuration of the newest attempt, or None when none was stored."""
        numbered = {int(path.stem[7:]): path for path in self.path.glob("config_[0-9]*.yaml")}
        if numbered:
            return numbered[max(numbered)]
        first = self.path / "config.yaml"
        return first if first.is_file() else None

    def start_attempt(
        self, command: Sequence[str] = (), resumed_from: str | Path | None = None, **facts: Any
    ) -> int:
        """Add an entry to `run.json` and claim the directory for this process.

        Args:
            command: the command line, as a list.
            resumed_from: the checkpoint this attempt continues from.
            facts: more to note, plain types only.

        Returns:
            The number of the attempt, from 1.

        Raises:
            UserError: when the directory cannot be written, or another process trains in it.
        """
        self._claim()
        diary = self._diary()
        for attempt in diary["attempts"]:
            if attempt["status"] == "running":  # it can no longer be: we hold the claim
                attempt["status"] = "killed"
        number = len(diary["attempts"]) + 1
        diary["attempts"].append(
            {
                "attempt": number,
                "status": "running",
                "started": _now(),
                "ended": None,
                "host": platform.node(),
                "pid": os.getpid(),
                "job": os.environ.get("SLURM_JOB_ID"),
                "git_revision": git_revision(),
                "command": list(command),
                "resumed_from": None if resumed_from is None else str(resumed_from),
                **facts,
            }
        )
        self._write_diary(diary)
        return number

    def note(self, **facts: Any) -> None:
        """Add facts to the newest attempt, for example `world_size=8`."""
        diary = self._diary()
        if diary["attempts"]:
            diary["attempts"][-1].update(facts)
            self._write_diary(diary)

    def end_attempt(self, status: str = "finished", **facts: Any) -> None:
        """Close the newest attempt and give up the claim.

        Args:
            status: `finished`, `stopped` (before its last step, on demand) or `failed: <what>`.
            facts: more to note, plain types only.
        """
        self.note(status=status, ended=_now(), **facts)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_config(self, text: str) -> Path:
        """Store the resolved configuration; a continued run keeps the older ones.

        Returns:
            The file that holds `text`: `config.yaml`, or `config_<attempt>.yaml` when it differs.
        """
        newest = self.config_file
        if newest is not None and newest.read_text(encoding="utf-8") == text:
            return newest
        number = max(len(self.attempts), 2)
        name = "config.yaml" if newest is None else f"config_{number}.yaml"
        self._make_folder()
        write_atomically(self.path / name, text)
        return self.path / name

    def write_label_map(self, label_map: LabelMap) -> None:
        """Store the classes.

        Raises:
            UserError: when the run was started with other classes.
        """
        if self.label_map_file.is_file():
            stored = json.loads(self.label_map_file.read_text(encoding="utf-8"))
            gap = LabelMap.from_json(stored).difference(label_map)
            if gap:
                raise UserError(
                    f"{self.path} was started with other classes than the shards hold: {gap}. "
                    "Give the shards it was started with, or start a new run."
                )
            return
        self._make_folder()
        write_atomically(self.label_map_file, json.dumps(label_map.to_json(), indent=1) + "\n")

    def _diary(self) -> dict[str, Any]:
        if not self.diary_file.is_file():
            return {
                "format": RUN_FORMAT,
                "run_id": secrets.token_hex(4),
                "created": _now(),
                "attempts": [],
            }
        try:
            diary = json.loads(self.diary_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(
                f"{self.diary_file} is not valid JSON ({error}). Restore it, or move it away: "
                "a new one is begun, under a new run id."
            ) from error
        if diary.get("format") != RUN_FORMAT:
            raise UserError(
                f"{self.diary_file} has format {diary.get('format')!r}; this version reads format "
                f"{RUN_FORMAT}. Start a new run, or use the version that wrote it."
            )
        return diary

    def _write_diary(self, diary: dict[str, Any]) -> None:
        self._make_folder()
        write_atomically(self.diary_file, json.dumps(diary, indent=1) + "\n")

    def _make_folder(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    def _claim(self) -> None:
        """Hold a lock that the system drops with the process, however the process ends."""
        self._make_folder()
        try:
            lock = os.open(self.path / "run.lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._not_writable(error) from error
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            last = self.attempts[-1] if self.attempts else {}
            raise UserError(
                f"Another process is training in {self.path} (host {last.get('host')}, process "
                f"{last.get('pid')}, since {last.get('started')}). Wait for it, stop it, or give "
                "another --run.dir."
            ) from error
        except OSError:
            pass  # a file system without locks: nothing to be claimed
        self._lock = lock

    def _not_writable(self, error: OSError) -> UserError:
        return UserError(
            f"Cannot write to {self.path} ({error.strerror}). Give a --run.dir that can be written."
        )


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file in one step: a reader, or a crash, sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Make a file, or the renames and deletions in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def git_revision() -> str | None:
    """The commit of this package's code, `-dirty` where files differ from it; None without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
