"""From files to training batches: what people use today against our shards, same run, same work.

The ways take turns in an order that rotates, because machines are shared and drift: the ratio is
the result, not the rate. CPU time is that of the training process and its workers together.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lit_detseg.structures import UserError

THEIRS = "CocoDetection + transforms v2"
OURS = "shards"
OURS_DENSE = "shards + float32, 28 x 28 masks"
# How much longer than ours an epoch of each takes, roughly: for the time left.
COSTS = {THEIRS: 8, OURS: 1, OURS_DENSE: 2}

Advance = Callable[[float], None]  # by how much of the total


@dataclass(frozen=True)
class Rate:
    """Medians over the rounds."""

    images_per_second: float  # of the wall clock, over whole epochs with the start of the workers
    cpu_ms: float  # per image, all processes


@dataclass(frozen=True)
class DataMeasurement:
    """What `bench data` found."""

    rates: dict[str, Rate]
    stages: dict[str, float]  # ms of CPU per image in a worker; `hand-over` in all processes
    memory: dict[str, float]  # of a worker, MB; see `WorkerMemory`

    @property
    def ratio(self) -> float:
        """How many times as many images a second come from shards."""
        return self.rates[OURS].images_per_second / self.rates[THEIRS].images_per_second

    @property
    def cpu_ratio(self) -> float:
        """How many times less CPU an image from shards takes."""
        return self.rates[THEIRS].cpu_ms / self.rates[OURS].cpu_ms

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "ratio": self.ratio, "cpu_ratio": self.cpu_ratio}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lit-detseg bench data`."""
    parser.add_argument("--images", type=int, default=200, help="drawn images (default: 200)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each way (default: 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(options: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        UserError: when the options make no measurement, or the system is not Linux.
    """
    from lit_detseg.bench.pipelines import BATCH

    if options.images < BATCH or min(options.workers, options.rounds) < 1:
        raise UserError(
            f"--images {options.images} --workers {options.workers} --rounds {options.rounds}: "
            f"give at least {BATCH} images (one batch), 1 worker and 1 round."
        )
    if sys.platform != "linux":
        raise UserError("`bench data` reads the memory of workers from /proc: run it on Linux.")
    with tempfile.TemporaryDirectory() as folder, _progress() as start:
        result = measure_data(Path(folder), options.images, options.workers, options.rounds, start)
    if options.json:
        print(json.dumps(result.to_json()))
    else:
        _print_tables(result)


def measure_data(
    folder: Path,
    images: int,
    workers: int,
    rounds: int,
    start: Callable[[str, float], Advance],
) -> DataMeasurement:
    """Draw a COCO-like set, pack it, and read it in each way.

    Args:
        folder: exists and is empty; takes 0.3 MB per image.
        images: how many to draw.
        workers: loader processes of each way.
        rounds: epochs of each way, after one that does not count.
        start: begins to show progress: title and total in, how to advance out.
    """
    import torch

    from lit_detseg.bench.coco_like import draw_coco_like
    from lit_detseg.bench.data_stages import EPOCHS, stage_costs, worker_memory
    from lit_detseg.data.packing.pack import pack
    from lit_detseg.data.readers.coco import CocoReader

    advance = start("Drawing a data set", images)
    draw_coco_like(folder, images, lambda: advance(1))
    shards = folder / "shards"
    pack(CocoReader(folder / "images", folder / "instances.json"), shards)
    advance = start("Reading it in turns", (rounds + 1) * sum(COSTS.values()) + EPOCHS + 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of the training process; workers have one anyway
    try:
        rates = _rates(folder, shards, workers, rounds, advance)
        stages = stage_costs(shards, lambda: advance(1))
        memory = worker_memory(shards, workers, lambda: advance(1))
    finally:
        torch.set_num_threads(threads)
    stages["hand-over"] = rates[OURS].cpu_ms - sum(stages.values())
    return DataMeasurement(rates, stages, asdict(memory))


def _rates(
    folder: Path, shards: Path, workers: int, rounds: int, advance: Advance
) -> dict[str, Rate]:
    from lit_detseg.bench.pipelines import our_dense_pipeline, our_pipeline, torchvision_pipeline

    epochs = {
        THEIRS: torchvision_pipeline(folder, workers),
        OURS: our_pipeline(shards, workers),
        OURS_DENSE: our_dense_pipeline(shards, workers),
    }
    found: dict[str, list[Rate]] = {name: [] for name in epochs}
    names = list(epochs)
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(_timed(epochs[name]))
            advance(COSTS[name])
    return {
        name: Rate(
            median(rate.images_per_second for rate in of_one[1:]),
            median(rate.cpu_ms for rate in of_one[1:]),
        )
        for name, of_one in found.items()
    }


def _timed(epoch: Callable[[], Iterator[int]]) -> Rate:
    """One epoch; its workers have ended when it has, so that their time is known."""
    cpu, wall = _cpu_seconds(), time.perf_counter()
    images = sum(epoch())
    wall = time.perf_counter() - wall
    return Rate(images / wall, 1000 * (_cpu_seconds() - cpu) / images)


def _cpu_seconds() -> float:
    """Of this process and all its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], Advance]]:
    """Bars with the time left on stderr, where somebody looks at it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:

        def start(title: str, total: float) -> Advance:
            task = bars.add_task(title, total=total)
            return lambda by: bars.advance(task, by)

        yield start


def _print_tables(result: DataMeasurement) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(
        title="From disk to training batches, 800 x 1066, with masks", title_justify="left"
    )
    for column in ("way", "images/s", "ratio", "CPU ms/image", "ratio"):
        table.add_column(column, justify="left" if column == "way" else "right")
    theirs = result.rates[THEIRS]
    for name, rate in result.rates.items():
        table.add_row(
            name,
            f"{rate.images_per_second:.1f}",
            f"{rate.images_per_second / theirs.images_per_second:.2f}",
            f"{rate.cpu_ms:.2f}",
            f"{theirs.cpu_ms / rate.cpu_ms:.2f}",
        )
    console.print(table)
    console.print("Their batches hold float32 pixels and a dense mask per object;")
    console.print("shards give uint8 pixels and masks as annotated, the last row both on top.")
    stages = Table(title=f"Where the time of {OURS!r} goes", title_justify="left")
    stages.add_column("stage")
    stages.add_column("CPU ms/image", justify="right")
    for name, cost in result.stages.items():
        stages.add_row(name, f"{cost:.2f}")
    console.print(stages)
    memory = result.memory
    console.print(
        f"Worker memory: at most {memory['peak']:.0f} MB, of which {memory['own']:.0f} MB its own; "
        f"{memory['growth']:+.1f} MB and {memory['descriptor_growth']:+.0f} open files from the "
        "second epoch to the last.",
        highlight=False,
    )
