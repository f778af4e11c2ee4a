"""`lit-detseg pack voc|coco|shapes`: a raw data set to shards."""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_detseg.cli.parser import ShortErrorParser
from lit_detseg.data.index import ShardIndex
from lit_detseg.data.packing.checks import ON_ERROR
from lit_detseg.data.packing.pack import Progress, Reader, pack
from lit_detseg.data.readers.coco import CocoReader
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.data.readers.voc import VocReader


def main(arguments: list[str]) -> None:
    """Pack as the command line says, and print what became of the data set.

    Raises:
        UserError: when the data set or the output folder has something to mend.
    """
    options = _parser().parse_args(arguments)
    reader = _reader(options)
    with _progress(f"Packing {reader.title}") as progress:
        index = pack(
            reader,
            options.out,
            on_error=options.on_error,
            samples_per_shard=options.samples_per_shard,
            overwrite=options.overwrite,
            progress=progress,
        )
    summary = _summary(index, options.out)
    if options.json:
        print(json.dumps(summary, ensure_ascii=False))
    else:
        _print_tables(summary, index)


def _parser() -> ShortErrorParser:
    """One subcommand per data set; what they share is in `common`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, required=True, help="new folder of the shards")
    common.add_argument(
        "--on-error",
        choices=ON_ERROR,
        default="fail",
        help="bad rows: 'fail' lists them all and writes nothing; 'drop' leaves out bad objects "
        "and images; 'clip' does so too, but cuts boxes at the image's border (default: fail)",
    )
    common.add_argument(
        "--samples-per-shard", type=int, default=1000, help="images per tar file (default: 1000)"
    )
    common.add_argument("--overwrite", action="store_true", help="replace the shards in --out")
    common.add_argument("--json", action="store_true", help="print the summary for programs")

    parser = ShortErrorParser(prog="lit-detseg pack", description="Raw data set -> shards.")
    kinds = parser.add_subparsers(dest="data_set", required=True, metavar="voc|coco|shapes")
    shared: dict[str, Any] = {"parents": [common], "allow_abbrev": False}
    voc = kinds.add_parser("voc", help="Pascal VOC: XML files and lists", **shared)
    voc.add_argument("--root", type=Path, required=True, help="folder with JPEGImages, Annotations")
    voc.add_argument("--split", required=True, help="lists of ImageSets/Main: train or train,val")
    voc.add_argument(
        "--classes",
        help="class names in the order of their labels: a,b,c (default: VOC's 20 if no other is "
        "found, else all names in the Annotations folder, sorted)",
    )
    coco = kinds.add_parser("coco", help="COCO: one JSON file", **shared)
    coco.add_argument("--images", type=Path, required=True, help="folder of the images")
    coco.add_argument("--annotations", type=Path, required=True, help="instances_....json")
    shapes = kinds.add_parser("shapes", help="draw shapes: nothing to download", **shared)
    shapes.add_argument("--images", type=int, default=2000, help="how many (default: 2000)")
    shapes.add_argument("--seed", type=int, default=0, help="other seed, other images (default: 0)")
    shapes.add_argument("--size", type=int, default=128, help="pixels, square (default: 128)")
    return parser


def _reader(options: argparse.Namespace) -> Reader:
    if options.data_set == "voc":
        classes = _names(options.classes) if options.classes else None
        return VocReader(options.root, _names(options.split), classes)
    if options.data_set == "coco":
        return CocoReader(options.images, options.annotations)
    return ShapesReader(options.images, options.seed, options.size)


def _names(text: str) -> list[str]:
    """Comma-separated names."""
    return [name.strip() for name in text.split(",") if name.strip()]


@contextmanager
def _progress(title: str) -> Iterator[Progress | None]:
    """A bar with the time left on stderr; None where nobody looks at it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Bars(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _summary(index: ShardIndex, out: Path) -> dict[str, Any]:
    """What the shards hold and what was left out."""
    objects: Counter[int] = Counter()
    for counts in index.class_counts:
        objects.update(counts)
    return {
        "images": len(index),
        "objects": objects.total(),
        "shards": len(index.shards),
        "images_read": index.report["images_read"],
        "objects_read": index.report["objects_read"],
        "dropped": index.report["dropped"],
        "clipped": index.report["clipped"],
        "out": str(out),
        "classes": {name: objects[label] for label, name in enumerate(index.label_map.names)},
    }


def _print_tables(summary: dict[str, Any], index: ShardIndex) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"Packed into {summary['out']}", title_justify="left")
    table.add_column("")
    table.add_column("stored", justify="right")
    table.add_column("read", justify="right")
    table.add_row("images", str(summary["images"]), str(summary["images_read"]))
    table.add_row("objects", str(summary["objects"]), str(summary["objects_read"]))
    for name, count in summary["classes"].items():
        table.add_row(f"  {name}", str(count), "")
    table.add_row("shards", str(summary["shards"]), "")
    console.print(table)
    if not summary["dropped"] and not summary["clipped"]:
        return
    faults = Table(title="Bad rows", title_justify="left")
    faults.add_column("kind")
    faults.add_column("rows", justify="right")
    for kind, count in summary["dropped"].items():
        faults.add_row(f"dropped: {kind.replace('_', ' ')}", str(count))
    if summary["clipped"]:
        faults.add_row("cut at the border", str(summary["clipped"]))
    console.print(faults)
    for row in (index.report["dropped_rows"] + index.report["clipped_rows"])[:10]:
        console.print(f"  {row}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"All rows: 'report' in {summary['out']}/index.json", highlight=False)
