"""The two-stage line on one small data set, beside what the papers say of VOC 2007.

Each system is trained by its own recipe, unless its run is there already; the table shows what
became of it: AP50, seconds per image, minutes of training, disk. A run that was stopped goes on.
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lit_detseg.bench.recipe_runs import RecipeRun, run_command
from lit_detseg.data.proposals.compute import read_cost
from lit_detseg.data.proposals.store import proposals_folder
from lit_detseg.errors import UserError

RECIPES = {
    "R-CNN": "rcnn_squeezenet_bccd",
    "SPP-net": "spp_net_squeezenet_bccd",
    "Fast R-CNN": "fast_rcnn_squeezenet_bccd",
    "Faster R-CNN": "faster_rcnn_squeezenet_bccd",
    "YOLO v1": "yolo_v1_tiny_bccd",
}
PROPOSALS = ("R-CNN", "SPP-net", "Fast R-CNN")  # the systems that are given them
NAME = "selective_search"  # of the proposals in their recipes


@dataclass(frozen=True)
class Row:
    """What became of one system."""

    system: str
    ap_50: float
    seconds_per_image: float | None  # without proposals
    training_minutes: float  # likewise
    megabytes: float  # run directory: checkpoints and caches
    proposal_seconds_per_image: float | None = None  # of CPU, for each image once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lit-detseg bench paper-table`."""
    parser.add_argument("--train", type=Path, required=True, help="shards to train on")
    parser.add_argument("--test", type=Path, required=True, help="shards to evaluate on")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument(
        "--recipes", type=Path, default=Path("configs/recipes"), help="folder of the recipes"
    )
    parser.add_argument(
        "--run-file", type=Path, default=Path("configs/run/cpu.yaml"), help="where they run"
    )
    parser.add_argument("--only", nargs="+", choices=RECIPES, help="systems (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(options: argparse.Namespace) -> None:
    """Train what is not trained yet, evaluate, and print.

    Raises:
        UserError: when a recipe or the proposals are missing, or a run fails.
    """
    rows = list(_rows(options))
    if not rows:
        raise UserError(
            f"{options.recipes} holds none of the recipes. Give their folder with --recipes."
        )
    published = json.loads((files("lit_detseg.bench") / "published.json").read_text("utf-8"))
    if options.json:
        print(json.dumps({"measured": [asdict(row) for row in rows], "published": published}))
    else:
        _print_table(rows, published)


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    for system in options.only or RECIPES:
        recipe = options.recipes / f"{RECIPES[system]}.yaml"
        if not recipe.is_file() and options.only is None:
            continue  # an architecture that is not here yet
        if not recipe.is_file():
            raise UserError(f"There is no recipe {recipe}. Give its folder with --recipes.")
        yield _row(system, recipe, options)


def _row(system: str, recipe: Path, options: argparse.Namespace) -> Row:
    cost = None
    if system in PROPOSALS:
        cost = read_cost(proposals_folder(options.test, NAME))
        if cost is None:
            raise UserError(
                f"There are no proposals beside {options.test}. Compute them for both sets: "
                f"`lit-detseg propose SHARDS --method {NAME}`."
            )
    is_staged = "\nstages:" in recipe.read_text(encoding="utf-8")
    arguments = (
        *(("--stages",) if is_staged else ("-c",)),
        str(recipe),
        *("-c", str(options.run_file)),
        f"--data.train={options.train}",
        f"--data.val={options.test}",
    )
    whole = RecipeRun(options.runs / recipe.stem, arguments)
    runs = whole.finish_stages() if is_staged else [whole.finish()]
    return Row(
        system,
        runs[-1].scores["map_50"],
        _seconds_per_image(runs[-1], options.test),
        math.fsum(one.minutes for one in runs),
        sum(path.stat().st_size for path in whole.path.rglob("*") if path.is_file()) / 1e6,
        None if cost is None else cost["cpu_seconds_per_image"],
    )


def _seconds_per_image(one: RecipeRun, test: Path) -> float:
    """Measured now, image by image, so that all systems meet the same machine."""
    file = one.path / "seconds_per_image.json"
    run_command(
        [
            "test",
            *("-c", str(one.path / "config.yaml")),
            *("--ckpt_path", "last"),
            f"--data.test={test}",
            "--data.eval_batch_size=1",
            "--run.pictures=0",
            "--trainer.callbacks=lit_detseg.bench.stopwatch.Stopwatch",
            f"--trainer.callbacks.path={file}",
        ]
    )
    return json.loads(file.read_text(encoding="utf-8"))["seconds_per_image"]


def _print_table(rows: list[Row], published: dict[str, Any]) -> None:
    of_papers = {paper["system"]: paper for paper in published["systems"]}
    table = Table(title="Measured here, and published for VOC 2007 test")
    table.add_column("system", no_wrap=True)
    for title in ("AP50", "s/image", "proposing", "min", "MB"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("mAP", "s/image"):
        table.add_column(title, justify="right", style="dim", no_wrap=True)
    for row in rows:
        paper = of_papers[row.system]
        table.add_row(
            row.system,
            f"{row.ap_50:.3f}",
            _shown(row.seconds_per_image),
            _shown(row.proposal_seconds_per_image),
            _shown(row.training_minutes),
            f"{row.megabytes:,.0f}",
            f"{paper['map']:.1f}",
            f"{paper['seconds']:g}",
        )
    console = Console()
    console.print(table)
    console.print(
        "proposing: seconds of CPU for each image, once, not in the column before; min: minutes of "
        "training; MB: checkpoints and caches.",
        style="dim",
    )
    console.print(published["comment"], style="dim")
    for paper in published["systems"]:
        source = f"{paper['backbone']}, {paper['train']}. {paper['source']}"
        console.print(f"{paper['system']}: {source}", style="dim", highlight=False)


def _shown(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
