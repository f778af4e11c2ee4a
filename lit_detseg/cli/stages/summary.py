"""What became of the stages of a sequence, as a table."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lit_detseg.cli.stages.stage_file import Stage
from lit_detseg.runs.directory import RunDirectory


def print_summary(run: Path, stages: Sequence[Stage]) -> None:
    """Print steps, minutes and best score of every stage.

    Args:
        run: directory of the sequence.
        stages: all of them.
    """
    table = Table(title=f"The runs are in {run}")
    table.add_column("stage")
    for title in ("steps", "minutes", "best score"):
        table.add_column(title, justify="right")
    for stage in stages:
        table.add_row(*summary_row(stage.folder, RunDirectory(run / stage.folder).attempts))
    Console().print(table)


def summary_row(name: str, attempts: Sequence[dict[str, Any]]) -> tuple[str, str, str, str]:
    """Name, steps, minutes and best score of a run; `-` for what it has none of.

    Args:
        name: of the run.
        attempts: from its `run.json`; the time of those that were killed is not known.
    """
    last = attempts[-1] if attempts else {}
    steps = last.get("ended_at_step")
    seconds = sum(
        (_time(one["ended"]) - _time(one["started"])).total_seconds()
        for one in attempts
        if one["ended"]
    )
    killed = any(not one["ended"] for one in attempts)
    best = last.get("best") or {}
    score = best.get("score")
    return (
        name,
        "-" if steps is None else f"{steps:,}",
        f"{'> ' if killed else ''}{seconds / 60:.1f}",
        "-" if score is None else f"{score:.4f} {best['monitor']} (step {best['step']:,})",
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
