"""Every logged number in one append-only file, `metrics.jsonl`, and its one reader.

A line is one call of the logger:

    {"attempt": 1, "step": 9, "epoch": 0, "time": 1763900000.25, "values": {"train/loss": 0.6931}}

`step` is Lightning's: optimiser steps before this one, so that step 9 is the tenth. Floats are
written in full. JSON has no number for NaN and the infinities: they are the strings "NaN",
"Infinity" and "-Infinity", which `float` reads.

Nothing is ever rewritten. What a killed attempt has logged past its last checkpoint is logged again
by the next attempt; the reader prefers the newer.
"""

import json
import math
import os
import time
import warnings
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class MetricsLog(Logger):
    """Append what the Trainer logs to `metrics.jsonl`.

    Each line is one `write` of the system: `kill -9` costs at most the last line, a torn one.

    Args:
        path: the file; made with its folder at the first number.
        attempt: number of this attempt, from `RunDirectory.start_attempt`.
    """

    def __init__(self, path: str | Path, attempt: int = 1) -> None:
        super().__init__()
        self.path = Path(path)
        self.attempt = attempt
        self._descriptor: int | None = None
        self._last: tuple[int | None, dict[str, float]] | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.parent.name

    @property
    def version(self) -> int:
        """The attempt."""
        return self.attempt

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self.path.parent)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one line, unless it would repeat the line before.

        Args:
            metrics: numbers by name; `epoch`, which Lightning adds, becomes a field of the line.
            step: optimiser steps before this one.
        """
        values = {name: float(value) for name, value in metrics.items()}
        epoch = values.pop("epoch", None)
        if not values or (step, values) == self._last:
            return
        self._last = (step, values)
        line = {
            "attempt": self.attempt,
            "step": step,
            "epoch": None if epoch is None else int(epoch),
            "time": round(time.time(), 3),
            "values": {name: _as_json(value) for name, value in values.items()},
        }
        self._append(json.dumps(line, allow_nan=False) + "\n")

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kw: Any) -> None:
        """Nothing: `config.yaml` beside the log has them all."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Put everything on disk; a later number opens the file again."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, line: str) -> None:
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            if not _ends_with_newline(self._descriptor):
                line = "\n" + line  # leave the torn line of a killed attempt to itself
        rest = line.encode()
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


def read_metrics(path: str | Path) -> dict[str, list[tuple[int, float]]]:
    """The curves of a run: for each name, (step, value) with ascending steps.

    Where a step was logged more than once, the last attempt counts, and its last line. A line that
    a killed attempt left incomplete is named in a warning; the last line may still be growing and
    is left out silently.
    """
    newest: dict[str, dict[int, tuple[int, float]]] = {}
    lines = Path(path).read_bytes().split(b"\n")
    for number, text in enumerate(lines[:-1], start=1):
        line = _parse(text)
        if line is None:
            warnings.warn(
                f"{path}, line {number} is incomplete and left out: an attempt was killed while "
                "writing it.",
                stacklevel=2,
            )
            continue
        step, attempt = line["step"], line["attempt"]
        for name, value in line["values"].items():
            curve = newest.setdefault(name, {})
            if step not in curve or attempt >= curve[step][0]:
                curve[step] = (attempt, float(value))
    return {
        name: [(step, value) for step, (_, value) in sorted(curve.items())]
        for name, curve in newest.items()
    }


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    complete = isinstance(line, dict) and line.keys() >= {"step", "attempt", "values"}
    return line if complete else None


def _as_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _ends_with_newline(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
