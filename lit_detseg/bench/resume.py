"""How soon the first batch comes when training goes on in the middle of an epoch.

Two answers, on the same shards of many tiny images: the data module seeks, and a plain webdataset
stream reads its way there. Decoding costs next to nothing here, and the stream decodes nothing at
all, so that what is compared is the way to the position and nothing else.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lit_detseg.structures import LabelMap, UserError

BATCH = 16
POSITIONS = (0.0, 0.5, 0.99)  # of an epoch
SAMPLES_PER_SHARD = 1000

Update = Callable[[str, int, int], None]  # what is being done, how much of it is, and of how much


@dataclass(frozen=True)
class Resumes:
    """Seconds to the first batch; one for each of `positions`."""

    positions: list[float]  # of an epoch, in [0, 1]
    images: list[int]  # of the epoch, that lie before
    seek: list[float]  # median, in a fresh process: from the start of the data module on
    replay: list[float]  # reading a webdataset stream up to there

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


class TinyImages:
    """A raw data set of 8 x 8 images without objects, quick to pack.

    Args:
        images: how many.
    """

    title = "tiny images"
    label_map = LabelMap(("nothing",))
    faults: tuple[Any, ...] = ()

    def __init__(self, images: int) -> None:
        self.source: dict[str, Any] = {"data_set": "tiny images", "images": images}
        self._images = images

    def __len__(self) -> int:
        return self._images

    def read(self, rank: int) -> tuple[Any, list[Any]]:
        """One image in the colour of its number."""
        from lit_detseg.data.images import encode_png
        from lit_detseg.data.records import RawSample

        colour = [rank % 256, rank // 256 % 256, rank // 65536]
        pixels = np.full((8, 8, 3), colour, dtype=np.uint8)
        return RawSample(f"{rank:08d}", encode_png(pixels), 8, 8, ()), []


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lit-detseg bench resume`."""
    parser.add_argument("--images", type=int, default=100_000, help="of an epoch")
    parser.add_argument("--workers", type=int, default=2, help="loader processes")
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes for each position")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(options: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        UserError: when the options make no measurement.
    """
    if options.images < 100 * BATCH or options.workers < 0 or options.rounds < 1:
        raise UserError(
            f"--images {options.images} --workers {options.workers} --rounds {options.rounds}: "
            f"give at least {100 * BATCH} images (100 batches), 0 workers and 1 round."
        )
    with tempfile.TemporaryDirectory() as folder, _progress() as update:
        result = measure_resumes(Path(folder), options, update)
    if options.json:
        print(json.dumps(result.to_json()))
    else:
        print_table(result, options)


def measure_resumes(folder: Path, options: argparse.Namespace, update: Update) -> Resumes:
    """Pack tiny images, then go on at each position in each way.

    Args:
        folder: exists and is empty; takes 2.5 KB per image.
        options: `images`, `workers` and `rounds`.
        update: called as it goes on.
    """
    from lit_detseg.data.packing.pack import pack

    shards = folder / "shards"
    pack(
        TinyImages(options.images),
        shards,
        samples_per_shard=SAMPLES_PER_SHARD,
        progress=lambda done, total: update("Packing tiny images", done, total),
    )
    steps = [int(options.images // BATCH * position) for position in POSITIONS]
    seconds: dict[int, list[float]] = {step: [] for step in steps}
    turns = [step for _ in range(options.rounds) for step in steps]
    for number, step in enumerate(turns):
        update("Going on in fresh processes", number, len(turns))
        seconds[step].append(_in_fresh_process(shards, step, options.workers))
    before = [step * BATCH for step in steps]
    replay = _replay(shards, before, options.images, update)
    return Resumes(list(POSITIONS), before, [median(seconds[step]) for step in steps], replay)


def _in_fresh_process(shards: Path, step: int, workers: int) -> float:
    """Seconds from the start of the data module to the first batch, imports not counted."""
    call = f"print(resume.seconds_to_first_batch({str(shards)!r}, {step}, {workers}))"
    # Not a pool of `multiprocessing`: in its processes, loader workers are not forked.
    command = [sys.executable, "-c", f"from lit_detseg.bench import resume; {call}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def seconds_to_first_batch(shards: str, step: int, workers: int) -> float:
    """Go on at a step, as a run does that continues a checkpoint; called in a fresh process.

    Args:
        shards: of tiny images.
        step: counted from the start of training.
        workers: loader processes.

    Raises:
        RuntimeError: when the batch is not that of the step.
    """
    from lit_detseg.data.shard_module import ShardDataModule

    start = time.perf_counter()
    data = ShardDataModule(train=shards, total_batch_size=BATCH, num_workers=workers)
    data.setup("fit")
    data.load_state_dict({**data.state_dict(), "step": step})  # as from a checkpoint
    loader = data.train_dataloader()
    first = next(iter(loader))
    seconds = time.perf_counter() - start
    keys = [f"{sample:08d}" for sample in loader.order.slots(step).samples]
    if first.annotations.image_ids != keys:
        raise RuntimeError(f"Step {step} is {keys}, but {first.annotations.image_ids} came.")
    data.teardown("fit")
    return seconds


def _replay(shards: Path, before: list[int], images: int, update: Update) -> list[float]:
    """Seconds until a stream has handed out the first batch behind each number of images."""
    import webdataset

    start = time.perf_counter()
    tars = sorted(map(str, shards.glob("*.tar")))
    marks = {images_before + BATCH for images_before in before}
    seconds = []
    for count, _ in enumerate(webdataset.WebDataset(tars, shardshuffle=False), start=1):
        if count in marks:
            seconds.append(time.perf_counter() - start)
        if count % SAMPLES_PER_SHARD == 0:
            update("Reading a stream from its start", count, images)
    return seconds


def print_table(result: Resumes, options: argparse.Namespace) -> None:
    """What was measured, for people; the options are those of the measurement."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"Seconds to the first batch of {BATCH}, {options.images} images an epoch",
        caption=f"{options.workers} workers, median of {options.rounds} fresh processes",
    )
    for name in ("epoch done", "images before", "seek", "replay (webdataset)", "times faster"):
        table.add_column(name, justify="right")
    rows = zip(result.positions, result.images, result.seek, result.replay, strict=True)
    for position, images, seek, replay in rows:
        ratio = f"{replay / seek:.1f}" if images else "-"  # nothing to replay
        table.add_row(f"{position:.0%}", str(images), f"{seek:.2f}", f"{replay:.2f}", ratio)
    Console().print(table)


@contextmanager
def _progress() -> Iterator[Update]:
    """A bar with the time left, on a terminal; otherwise nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    tasks: dict[str, Any] = {}

    def update(title: str, done: int, total: int) -> None:
        if title not in tasks:
            for task in tasks.values():
                bars.update(task, visible=False)
            tasks[title] = bars.add_task(title, total=total)
        bars.update(tasks[title], completed=done)

    with bars:
        yield update
