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
    Tail,
    TrainingOrder,
)
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError

STEPS_SHOWN = 8
KEYS_SHOWN = 4


def main(arguments: list[str]) -> None:
    """Print the plan of one epoch."""
    options = _parser().parse_args(arguments)
    as_json = vars(options).pop("json")
    plan = make_plan(**vars(options))
    if as_json:
        print(json.dumps(plan))
        return
    _print_table(plan)


def make_plan(
    shards: list[str],
    split: str,
    ranks: int,
    workers: int,
    batch: int,
    seed: int,
    epoch: int,
    window: int,
    tail: Tail,
) -> dict[str, Any]:
    """Who reads what.

    Returns:
        `steps`, a list of steps, each with one list of sample keys per rank, and the counts:
        `images` in the set, `dropped` (in no step of this epoch), `repeated` (in one step more).
    """
    reader = ShardReader(shards)
    order: TrainingOrder | EvaluationOrder
    if split == "train":
        order = TrainingOrder(reader.shard_lengths, batch, seed, window, tail)
        dropped = order.dropped
    else:
        order, dropped = EvaluationOrder(len(reader), batch), 0
    if ranks < 1 or workers < 0 or epoch < 0:
        raise UserError(
            f"--ranks {ranks} --workers {workers} --epoch {epoch}: there is at least one rank, and "
            "workers and epochs count from 0."
        )
    first = epoch * order.steps
    steps = [
        [reader.keys[order.slots(step, rank, ranks).samples].tolist() for rank in range(ranks)]
        for step in range(first, first + order.steps)
    ]
    return {
        "split": split,
        "images": len(reader),
        "shards": len(reader.shard_lengths),
        "images_per_step": batch,
        "dropped": max(dropped, 0),
        "repeated": max(-dropped, 0),
        "epoch": epoch,
        "seed": seed,
        "shuffle_window": window,
        "tail": tail,
        "ranks": ranks,
        "workers": workers,
        "steps": steps,
    }


def _print_table(plan: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"Epoch {plan['epoch']} of {plan['split']}", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    smallest, largest = _shares(plan)
    share = f"{largest}" if smallest == largest else f"{smallest} to {largest}"
    rows = {
        "images": plan["images"],
        "shards": plan["shards"],
        "steps": f"{len(plan['steps'])} of {plan['images_per_step']} images over all ranks",
        "ranks": f"{plan['ranks']}, each reads {share} images of a step",
        "tail": _tail(plan),
    }
    if plan["split"] == "train":
        rows["order"] = (
            f"seed {plan['seed']}, shuffled in windows of {plan['shuffle_window']} shards"
        )
    for name, value in rows.items():
        table.add_row(name, str(value))
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


def _shares(plan: dict[str, Any]) -> tuple[int, int]:
    lengths = [len(keys) for step in plan["steps"] for keys in step]
    return min(lengths), max(lengths)


def _tail(plan: dict[str, Any]) -> str:
    if plan["dropped"]:
        return f"{plan['dropped']} left out in this epoch; each epoch leaves out others"
    if plan["repeated"]:
        return f"the epoch's first {plan['repeated']} images fill up its last step"
    return "every image is in exactly one step"


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
    parser.add_argument("--json", action="store_true", help="print all steps, for programs")
    return parser
