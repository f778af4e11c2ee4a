"""Runs of recipes behind a benchmark's numbers: started, continued or read where they are done."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lit_detseg.errors import UserError
from lit_detseg.runs.directory import RunDirectory
from lit_detseg.runs.metrics_log import read_metrics

CONTINUED = ("--ckpt_path", "last")  # or started, where there is none


@dataclass(frozen=True)
class RecipeRun:
    """One run directory.

    Args:
        path: of the run.
        arguments: what follows `lit-detseg fit`, without the run directory.
    """

    path: Path
    arguments: tuple[str, ...]

    @property
    def is_finished(self) -> bool:
        """Whether its last attempt came to its end."""
        attempts = RunDirectory(self.path).attempts
        return bool(attempts) and attempts[-1]["status"] == "finished"

    def finish(self) -> "RecipeRun":
        """Train to the end, from where it stands, in a process of its own that says how it goes.

        Returns:
            Itself.

        Raises:
            UserError: when training fails.
        """
        if not self.is_finished:
            run_command(["fit", *self.arguments, "--run.dir", str(self.path), *CONTINUED])
        return self

    def finish_stages(self) -> list["RecipeRun"]:
        """The same of a recipe in stages; finished ones are passed over.

        Returns:
            The run of each stage, in order.

        Raises:
            UserError: when training fails.
        """
        run_command(["fit", *self.arguments, "--run.dir", str(self.path)])
        return [RecipeRun(path, ()) for path in sorted(self.path.glob("[0-9][0-9]_*"))]

    @property
    def minutes(self) -> float:
        """Of all attempts; NaN when one of them was killed, for nobody has seen when."""
        attempts = RunDirectory(self.path).attempts
        if not all(attempt["ended"] for attempt in attempts):
            return float("nan")
        spans = [
            datetime.fromisoformat(one["ended"]) - datetime.fromisoformat(one["started"])
            for one in attempts
        ]
        return sum(span.total_seconds() for span in spans) / 60

    @property
    def scores(self) -> dict[str, float]:
        """What the last validation logged, without `val/`."""
        curves = read_metrics(RunDirectory(self.path).metrics_file)
        return {
            name.removeprefix("val/"): curve[-1][1]
            for name, curve in curves.items()
            if name.startswith("val/")
        }


def run_command(arguments: Sequence[str]) -> None:
    """Run `lit-detseg ARGUMENTS`; what it prints goes where ours does.

    Raises:
        UserError: when it fails.
    """
    code = subprocess.run([sys.executable, "-m", "lit_detseg", *arguments], check=False).returncode
    if code:
        raise UserError(
            f"`lit-detseg {' '.join(arguments)}` ended with exit code {code}: its message is above."
        )
