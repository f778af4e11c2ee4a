"""`lit-detseg plan`: which images each rank reads at each step of an epoch.

Asks the very objects that training and evaluation ask, and reads the index only: no image, no GPU.
"""

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from lit_detseg.cli.parser import ShortErrorParser
from lit_detseg.data.order import (
    DEFAULT_SEED,
    DEFAULT_SHUFFLE_WINDOW,
    EvaluationOrder,
    TrainingOrder,
)
from lit_detseg.data.plan import plan_rows, training_plan
from lit_detseg.data.sampling import ClassBalanced, RepeatFactor, Sampling, training_order
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError

STEPS_SHOWN = 8
KEYS_SHOWN = 4


def main(arguments: list[str]) -> None:
    """Print the plan of one epoch."""
    options = _parser().parse_args(arguments)
    plan, rows = make_plan(options)
    if options.json:
        print(json.dumps(plan))
        return
    _print_table(plan, rows)


def make_plan(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Who reads what.

    Returns:
        The plan, and what to tell people of it. The plan holds `steps`, a list of steps, each
        with one list of sample keys per rank, and the counts: `images` in the set, `dropped` (in
        no step of this epoch), `repeated` (in one step more).
    """
    if options.ranks < 1 or options.workers < 0 or options.epoch < 0:
        raise UserError(
            f"--ranks {options.ranks} --workers {options.workers} --epoch {options.epoch}: there "
            "is at least one rank, and workers and epochs count from 0."
        )
    reader = ShardReader(options.shards)
    order: TrainingOrder | EvaluationOrder
    if options.split == "train":
        order = _training_order(reader, options)
        counts = training_plan(order, options.ranks)
        facts, rows = counts._asdict(), plan_rows(counts)
    else:
        order = EvaluationOrder(len(reader), options.batch)
        facts, rows = _evaluation_facts(reader, order, options.ranks)
    first, ranks = options.epoch * order.steps, range(options.ranks)
    steps = [
        [reader.keys[order.slots(step, rank, len(ranks)).samples].tolist() for rank in ranks]
        for step in range(first, first + order.steps)
    ]
    named = {name: getattr(options, name) for name in ("split", "epoch", "tail", "workers")}
    return {**facts, **named, "steps": steps}, rows


def _training_order(reader: ShardReader, options: argparse.Namespace) -> TrainingOrder:
    sampling: Sampling | None = None
    if options.repeat_factor is not None:
        sampling = RepeatFactor(options.repeat_factor)
    elif options.class_balanced:
        sampling = ClassBalanced()
    return training_order(
        reader,
        options.batch,
        sampling,
        options.group_by_aspect_ratio,
        seed=options.seed,
        shuffle_window=options.window,
        tail=options.tail,
        accumulate=options.accumulate,
    )


def _evaluation_facts(
    reader: ShardReader, order: EvaluationOrder, ranks: int
) -> tuple[dict[str, Any], dict[str, str]]:
    shares = [
        len(order.slots(step, rank, ranks).samples)
        for step in range(order.steps)
        for rank in range(ranks)
    ]
    share = f"{min(shares)} to {max(shares)}" if min(shares) < max(shares) else f"{shares[0]}"
    facts = {
        "images": len(reader),
        "shards": len(reader.shard_lengths),
        "images_per_step": order.batch,
        "ranks": ranks,
        "dropped": 0,
        "repeated": 0,
    }
    rows = {
        "images": str(len(reader)),
        "shards": str(len(reader.shard_lengths)),
        "steps": f"{order.steps} of {order.batch} images over all ranks",
        "ranks": f"{ranks}, each reads {share} images of a step",
        "tail": "every image is in exactly one step",
    }
    return facts, rows


def _print_table(plan: dict[str, Any], rows: dict[str, str]) -> None:
    console = Console()
    table = Table(title=f"Epoch {plan['epoch']} of {plan['split']}", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    console.print(_first_steps(plan))


def _first_steps(plan: dict[str, Any]) -> Table:
    shown = plan["steps"][:STEPS_SHOWN]
    table = Table(title=f"The first {len(shown)} steps")
    table.add_column("step", justify="right")
    table.add_column("worker", justify="right")
    for rank in range(plan["ranks"]):
        table.add_column(f"rank {rank}")
    for number, step in enumerate(shown):
        # DataLoader gives whole steps to its workers in turn, and takes them back in order.
        worker = str(number % plan["workers"]) if plan["workers"] else "-"
        table.add_row(str(number), worker, *(_abbreviated(keys) for keys in step))
    return table


def _abbreviated(keys: list[str]) -> str:
    more = len(keys) - KEYS_SHOWN
    return " ".join(keys[:KEYS_SHOWN]) + (f" +{more}" if more > 0 else "")


def _parser() -> argparse.ArgumentParser:
    parser = ShortErrorParser(
        prog="lit-detseg plan",
        description="Print which images each rank reads at each step. Reads the index only.",
    )
    parser.add_argument("shards", nargs="+", metavar="SHARDS", help="shard sets, read as one")
    parser.add_argument("--split", choices=["train", "val"], default="train", help="kind of order")
    parser.add_argument("--ranks", type=int, default=1, help="processes that share a step")
    parser.add_argument("--workers", type=int, default=2, help="loader processes per rank")
    parser.add_argument("--batch", type=int, default=8, help="images per step over all ranks")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of the order")
    parser.add_argument("--epoch", type=int, default=0, help="counted from 0")
    parser.add_argument(
        "--window", type=int, default=DEFAULT_SHUFFLE_WINDOW, help="shards mixed with each other"
    )
    parser.add_argument("--tail", choices=["drop", "wrap"], default="drop", help="of an epoch")
    parser.add_argument("--accumulate", type=int, default=1, help="steps per optimiser step")
    sampling = parser.add_mutually_exclusive_group()
    sampling.add_argument(
        "--repeat-factor",
        type=float,
        metavar="SHARE",
        help="repeat images of classes that fewer images show",
    )
    sampling.add_argument(
        "--class-balanced", action="store_true", help="ask for every class equally often"
    )
    parser.add_argument(
        "--group-by-aspect-ratio",
        action="store_true",
        help="show images of one orientation in each optimiser step",
    )
    parser.add_argument("--json", action="store_true", help="print all steps, for programs")
    return parser
