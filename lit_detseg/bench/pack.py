"""Packing a data set of COCO's size: seconds to open it, images per second, memory.

The annotation file is drawn and as large as train2017's (118 287 images, 860 001 objects with
polygons). The images are a few one-coloured JPEGs that are named again and again, so that little
disk is needed: this measures what every image costs besides its pixels. The second measurement
packs photograph-like JPEGs of 640 x 480 pixels.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np

from lit_detseg.bench.coco_like import draw_coco_like
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.coco import CocoReader
from lit_detseg.errors import UserError

HEIGHT, WIDTH = 480, 640
CLASSES = 80
SHAPES = 2000  # different polygons
POINTS = (8, 38)  # of a polygon; with them a row is as long as COCO's, about 520 bytes
FILES = 8  # different images
SCATTER = 7919  # a prime: an image's annotations lie far from each other, as in COCO's file
SHARDS_AT_LEAST = 8  # so that workers end at about the same time
LOOK_EVERY = 0.25  # seconds between two looks at the memory


@dataclass(frozen=True)
class Packing:
    """One data set packed."""

    what: str
    workers: int
    images: int
    objects: int
    json_megabytes: float
    seconds_to_open: float
    images_per_second: float
    cpu_milliseconds: float  # per image, of all processes; other work on the machine matters less
    peak_megabytes: float  # all processes together; shared pages count once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lit-detseg bench pack`."""
    parser.add_argument("--images", type=int, default=118_287, help="rows of images")
    parser.add_argument("--objects", type=int, default=860_001, help="rows of annotations")
    parser.add_argument(
        "--photographs", type=int, default=1000, help="images of the second measurement"
    )
    parser.add_argument("--workers", type=int, default=2, help="packing processes (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(options: argparse.Namespace) -> None:
    """Measure and print a table.

    Raises:
        UserError: when a number is too small to measure anything.
    """
    if min(options.images, options.objects, options.photographs, options.workers) < 1:
        raise UserError("Give at least 1 of --images, --objects, --photographs and --workers.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = [*_measure_all(folder, options)]
    if options.json:
        print(json.dumps({"packing": [asdict(result) for result in results]}))
    else:
        _print_table(results)


def _measure_all(folder: Path, options: argparse.Namespace) -> Iterator[Packing]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    many, few = folder / "many", folder / "few"
    for place in (many, few):
        place.mkdir()
    with console.status("Drawing the annotations"):
        write_annotations(many, options.images, options.objects)
    with console.status(f"Packing {options.images} images"):
        yield _measure("plain images", many, options.workers)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("Drawing photographs", total=options.photographs)
        draw_coco_like(few, options.photographs, lambda: bar.advance(task))
    for workers in sorted({1, options.workers}):
        with console.status(f"Packing {options.photographs} photographs"):
            yield _measure("photographs", few, workers)


def write_annotations(folder: Path, images: int, objects: int) -> None:
    """Write `folder/images/*.jpg` and `folder/instances.json`.

    Args:
        folder: exists.
        images: rows of images; they name a few files.
        objects: rows of annotations, over all images.
    """
    random = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(FILES):
        shade = np.full((HEIGHT, WIDTH, 3), 20 * number, np.uint8)
        cv2.imwrite(str(folder / f"images/{number}.jpg"), shade)
    shapes = [_shape(random) for _ in range(SHAPES)]
    with (folder / "instances.json").open("w", encoding="utf-8") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        size = f'"height": {HEIGHT}, "width": {WIDTH}'
        for number in range(images):
            names = f'"id": {number + 1}, "file_name": "{number % FILES}.jpg"'
            file.write(f"{', ' if number else ''}{{{names}, {size}}}")
        file.write('], "annotations": [')
        for number in range(objects):
            ids = f'"id": {number + 1}, "image_id": {number * SCATTER % images + 1}'
            file.write(f"{', ' if number else ''}{{{shapes[number % SHAPES]}, {ids}}}")
        categories = [{"id": label + 1, "name": f"class {label}"} for label in range(CLASSES)]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def _shape(random: np.random.Generator) -> str:
    """The fields of an annotation that do not depend on its image."""
    points = random.integers(*POINTS, endpoint=True)
    radius = random.uniform(15, 110)
    center = random.uniform(radius, (WIDTH - radius, HEIGHT - radius))
    angles = np.sort(random.uniform(0, 2 * np.pi, points))
    outline = center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outline = outline.round(2)
    (x1, y1), (x2, y2) = outline.min(axis=0).tolist(), outline.max(axis=0).tolist()
    fields = {
        "segmentation": [outline.ravel().tolist()],
        "area": round((x2 - x1) * (y2 - y1) / 2, 4),
        "iscrowd": 0,
        "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
        "category_id": int(random.integers(1, CLASSES + 1)),
    }
    return json.dumps(fields)[1:-1]


def _measure(what: str, folder: Path, workers: int) -> Packing:
    """Open and pack a data set in a new process, and watch the memory of it and its workers."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_open_and_pack, args=(folder, workers, theirs))
    process.start()
    theirs.close()
    assert process.pid is not None
    looks = []
    is_done = False
    while not is_done:
        is_done = ours.poll(LOOK_EVERY)
        looks.append(sum(_megabytes(pid) for pid in _family(process.pid)))
    opened, packed, busy, images, objects = ours.recv()
    ours.close()
    process.join()
    size = (folder / "instances.json").stat().st_size / 1e6
    speed = images / packed, 1000 * busy / images
    return Packing(what, workers, images, objects, size, opened, *speed, max(looks))


def _open_and_pack(folder: Path, workers: int, connection: Connection) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as out:
        start = time.perf_counter()
        reader = CocoReader(folder / "images", folder / "instances.json")
        opened, busy = time.perf_counter(), _cpu_seconds()
        per_shard = max(1, min(1000, len(reader) // SHARDS_AT_LEAST))
        index = pack(reader, Path(out) / "shards", "fail", per_shard, workers=workers)
        end = time.perf_counter()
        objects = sum(sum(counts.values()) for counts in index.class_counts)
        busy = _cpu_seconds() - busy
        connection.send((opened - start, end - opened, busy, len(index), objects))
        with suppress(EOFError):
            connection.recv()  # until nobody looks any more


def _cpu_seconds() -> float:
    """Of this process and of those that it has ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _family(pid: int) -> list[int]:
    """A process and its children (Linux)."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:  # it has just ended
        return []
    return [pid, *map(int, children)]


def _megabytes(pid: int) -> float:
    """Memory of a process; a page that several share counts in equal shares (Linux)."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        pass
    return 0.0


def _print_table(results: list[Packing]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Packing images of {WIDTH} x {HEIGHT} pixels", title_justify="left")
    table.add_column("")
    for one in results:
        table.add_column(one.what, justify="right")
    rows = {
        "annotations, MB": [f"{one.json_megabytes:.0f}" for one in results],
        "images": [str(one.images) for one in results],
        "objects": [str(one.objects) for one in results],
        "workers": [str(one.workers) for one in results],
        "seconds to open": [f"{one.seconds_to_open:.1f}" for one in results],
        "images/s": [f"{one.images_per_second:.0f}" for one in results],
        "CPU ms/image": [f"{one.cpu_milliseconds:.1f}" for one in results],
        "memory at most, MB": [f"{one.peak_megabytes:.0f}" for one in results],
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    Console().print(table)


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    run(_parser.parse_args())
