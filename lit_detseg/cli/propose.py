"""`lit-detseg propose`: region proposals for every image of a shard set, once, and their recall."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.cli.parser import ShortErrorParser, add_workers_argument
from lit_detseg.cli.progress import images_bar
from lit_detseg.data.proposals.compute import compute_proposals, read_cost
from lit_detseg.data.proposals.method import ProposalMethod
from lit_detseg.data.proposals.methods import METHODS, default_name
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.proposals.recall import THRESHOLDS, Recall, measure_recall
from lit_detseg.data.proposals.store import PLOT_FILE, ProposalIndex, proposals_folder
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError

OPTIONS = ("mode", "width", "min_side", "max_boxes", "min_area")  # of some method or other
CLASSES_SHOWN = 20


def main(arguments: list[str]) -> None:
    """Compute what is not there yet; print recall and cost, and draw the recall.

    Raises:
        UserError: when the set cannot be used, or the name is taken.
    """
    if any(argument.partition("=")[0] == "--checkpoint" for argument in arguments):
        from lit_detseg.cli.propose_trained import main as propose_trained

        propose_trained(arguments, _report_trained)
        return
    options = _parser().parse_args(arguments)
    if "://" in options.shards:
        raise UserError(f"{options.shards}: propose reads folders, and writes beside the shards.")
    shards = Path(options.shards)
    method = _method(options)
    name = options.name or default_name(method)
    proposals_folder(shards, name)  # checks the name
    try:
        with images_bar(f"Computing {name}") as progress:
            compute_proposals(
                shards, method, name, options.overwrite, options.workers, progress, _say
            )
    except KeyboardInterrupt:
        _say("Stopped. Finished images are kept: the same command goes on behind them.")
        raise SystemExit(130) from None
    _report(shards, name, method.name, method.options, options.json)


def _report_trained(shards: Path, name: str) -> None:
    index = ProposalIndex.read(proposals_folder(shards, name))
    _report(shards, name, index.method, index.options, as_json=False)


def _report(
    shards: Path, name: str, method: str, options: Mapping[str, Any], as_json: bool
) -> None:
    """Measure the recall of stored proposals, print and draw it."""
    folder = proposals_folder(shards, name)
    recall = _recall(shards, name)
    _draw(recall, f"{name} on {shards.resolve().name}", folder / PLOT_FILE)
    summary = _summary(method, options, recall, folder)
    if as_json:
        print(json.dumps(summary, ensure_ascii=False))
    else:
        _print_tables(recall, summary)


def _parser() -> argparse.ArgumentParser:
    parser = ShortErrorParser(
        prog="lit-detseg propose",
        description="Compute region proposals for every image of a shard set, store them beside "
        "the shards in proposals/NAME, and measure how many objects they find. Training reads them "
        "with --data.proposals=NAME. With --checkpoint CKPT a trained region proposal network "
        "makes them: `lit-detseg propose --checkpoint CKPT --help`.",
    )
    parser.add_argument("shards", metavar="SHARDS", help="folder of a shard set")
    parser.add_argument("--method", required=True, choices=METHODS, help="what proposes the boxes")
    parser.add_argument(
        "--name",
        help="to store them under (default: the method, `_quality` behind it in that mode)",
    )
    search = parser.add_argument_group("options of selective_search")
    search.add_argument("--mode", help="8 hierarchies (fast, the default) or 80 (quality)")
    search.add_argument("--width", type=int, help="pixels to scale the image to (default: 500)")
    search.add_argument(
        "--min-side",
        type=int,
        help="pixels at that scale; smaller boxes are left out (default: 20)",
    )
    edges = parser.add_argument_group("options of edge_boxes")
    edges.add_argument("--max-boxes", type=int, help="on each image at most (default: 2000)")
    edges.add_argument(
        "--min-area", type=int, help="pixels; smaller boxes are not looked at (default: 1000)"
    )
    add_workers_argument(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace those of that name")
    parser.add_argument("--json", action="store_true", help="print recall and cost for programs")
    return parser


def _method(options: argparse.Namespace) -> ProposalMethod:
    """The method, with those of its options that were given."""
    method = METHODS[options.method]
    given = {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}
    known = {field.name for field in fields(method)}
    if others := [f"--{name.replace('_', '-')}" for name in given if name not in known]:
        raise UserError(f"{options.method} has no option {', '.join(others)}. Leave it out.")
    return method(**given)


def _say(sentence: str) -> None:
    print(f"lit-detseg: {sentence}", file=sys.stderr)


def _recall(shards: Path, name: str) -> Recall:
    reader = ShardReader(shards)
    with images_bar("Measuring recall") as progress:
        return measure_recall(reader, ProposalReader(reader, name), progress)


def _draw(recall: Recall, title: str, path: Path) -> None:
    from lit_detseg.reports.proposal_recall import draw_recall

    try:
        draw_recall(recall, title, path)
    except OSError as error:
        _say(f"{path} cannot be written ({error.strerror}): there is no plot.")


def _summary(
    method: str, options: Mapping[str, Any], recall: Recall, folder: Path
) -> dict[str, Any]:
    counts = recall.proposals
    return {
        "folder": str(folder),
        "method": method,
        "options": dict(options),
        "images": len(counts),
        "proposals_per_image": {
            "min": int(counts.min()),  # a shard set has an image
            "mean": round(float(counts.mean()), 1),
            "max": int(counts.max()),
        },
        "cost": read_cost(folder),
        **recall.to_json(),
    }


def _print_tables(recall: Recall, summary: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    for threshold in THRESHOLDS:
        console.print(_table(recall, threshold))
    counts, cost = summary["proposals_per_image"], summary["cost"]
    lines = [
        f"{summary['images']} images with {counts['min']} to {counts['max']} proposals, "
        f"{counts['mean']} on average."
    ]
    if cost is not None:
        lines.append(
            f"{cost['cpu_seconds_per_image']:.3g} s of CPU per image to compute, "
            f"{cost['cpu_seconds']:.1f} s in all."
        )
    lines.append(f"In {summary['folder']}, with a plot of the recall: {PLOT_FILE}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(recall: Recall, threshold: float) -> Any:
    """Rows for all objects and for the most frequent classes."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    labels = np.argsort(-recall.objects, kind="stable").tolist()
    more = len(labels) - CLASSES_SHOWN
    table = Table(
        title=f"Recall at an IoU of {threshold}, by the number of proposals of an image",
        title_justify="left",
        caption=f"and {more} classes more: --json" if more > 0 else None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    table.add_column("objects", overflow="fold")
    for number in recall.numbers:
        table.add_column(str(number), justify="right", no_wrap=True)
    table.add_row(f"all ({recall.objects.sum()})", *_cells(recall.overall(threshold)), style="bold")
    for label in labels[:CLASSES_SHOWN]:
        name = f"{escape(recall.label_map.names[label])} ({recall.objects[label]})"
        table.add_row(name, *_cells(recall.of_class(label, threshold)))
    return table


def _cells(values: np.ndarray) -> list[str]:
    return ["-" if np.isnan(value) else f"{value:.3f}" for value in values]
