"""`lit-detseg pack voc|coco|cityscapes|shapes`: a raw data set to shards.

`lit-detseg pack --from-shards` makes shards of shards; with `--part`, several machines share the
work, and `lit-detseg pack --merge` joins what they made.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from lit_detseg.cli.parser import ShortErrorParser
from lit_detseg.cli.progress import images_bar
from lit_detseg.data.index import ShardIndex
from lit_detseg.data.packing.checks import ON_ERROR
from lit_detseg.data.packing.pack import PackOptions, pack, pack_part
from lit_detseg.data.packing.parts import merge
from lit_detseg.data.packing.plan import Part
from lit_detseg.data.packing.reader import Reader
from lit_detseg.data.readers.cityscapes import CityscapesReader
from lit_detseg.data.readers.coco import CocoReader
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.data.readers.shard_sets import ShardSetReader
from lit_detseg.data.readers.voc import VocReader
from lit_detseg.errors import UserError

WORDS_AS_FLAGS = ("--from-shards", "--merge")  # anywhere on the command line


def main(arguments: list[str]) -> None:
    """Pack as the command line says, and print what became of the data set.

    Raises:
        UserError: when the data set or the output folder has something to mend.
    """
    options = _parser().parse_args(_word_first(arguments))
    if options.word == "merge":
        index, out = merge(options.out, options.overwrite), options.out
    else:
        try:
            index, out = _pack(options)
        except KeyboardInterrupt:
            _say("Stopped. Finished shards are kept: the same command goes on behind them.")
            raise SystemExit(130) from None
    summary = _summary(index, out)
    if options.json:
        print(json.dumps(summary, ensure_ascii=False))
    else:
        _print_tables(summary, index, is_whole=getattr(options, "part", None) is None)


def _pack(options: argparse.Namespace) -> tuple[ShardIndex, Path]:
    """Pack a data set, or a part of it; its index and where it is."""
    reader = _reader(options)
    with images_bar(f"Packing {reader.title}") as progress:
        chosen = PackOptions(
            options.on_error,
            options.samples_per_shard,
            options.overwrite,
            options.workers,
            progress,
            _say,
        )
        if options.part is None:
            return pack(reader, options.out, **vars(chosen)), options.out
        part = Part.parse(options.part)
        return pack_part(reader, options.out, part, chosen), part.folder(options.out)


def _word_first(arguments: list[str]) -> list[str]:
    """Put `--merge` or `--from-shards` in the place of the data set's name, without its dashes."""
    for flag in WORDS_AS_FLAGS:
        if flag in arguments:
            at = arguments.index(flag)
            return [flag.removeprefix("--"), *arguments[:at], *arguments[at + 1 :]]
    return arguments


def _parser() -> ShortErrorParser:
    """One subcommand per data set; what they share is in parent parsers."""
    parser = ShortErrorParser(prog="lit-detseg pack", description="Raw data set -> shards.")
    words = parser.add_subparsers(
        dest="word", required=True, metavar="voc|coco|cityscapes|shapes|--from-shards|--merge"
    )
    place = _place_options()
    shared: dict[str, Any] = {"parents": [place, _packing_options()], "allow_abbrev": False}
    _add_voc(words, shared)
    _add_cityscapes(words, shared)
    coco = words.add_parser("coco", help="COCO: one JSON file", **shared)
    coco.add_argument("--images", type=Path, required=True, help="folder of the images")
    coco.add_argument("--annotations", type=Path, required=True, help="instances_....json")
    shapes = words.add_parser("shapes", help="draw shapes: nothing to download", **shared)
    shapes.add_argument("--images", type=int, default=2000, help="how many (default: 2000)")
    shapes.add_argument("--seed", type=int, default=0, help="other seed, other images (default: 0)")
    shapes.add_argument("--size", type=int, default=128, help="pixels, square (default: 128)")
    shards = words.add_parser("from-shards", help="shards -> other shards", **shared)
    shards.add_argument("sets", type=Path, nargs="+", help="shard sets of one label map")
    shards.add_argument("--keys", type=Path, help="file with one key a line: pack only these")
    words.add_parser("merge", help="join the parts of --out", parents=[place], allow_abbrev=False)
    return parser


def _place_options() -> ShortErrorParser:
    place = ShortErrorParser(add_help=False)
    place.add_argument("--out", type=Path, required=True, help="new folder of the shards")
    place.add_argument("--overwrite", action="store_true", help="replace the shards in --out")
    place.add_argument("--json", action="store_true", help="print the summary for programs")
    return place


def _packing_options() -> ShortErrorParser:
    common = ShortErrorParser(add_help=False)
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
    common.add_argument(
        "--workers",
        type=int,
        help="processes, each packing whole shards; more than cores help where images lie on a "
        "slow network (default: one per core)",
    )
    common.add_argument(
        "--part",
        metavar="I/N",
        help="pack only the shards of part I of N, beside --out; with the same other options for "
        "each. `lit-detseg pack --merge --out OUT` joins the parts",
    )
    return common


def _add_voc(words: Any, shared: dict[str, Any]) -> None:
    voc = words.add_parser("voc", help="Pascal VOC: XML files, PNGs and lists", **shared)
    voc.add_argument("--root", type=Path, required=True, help="folder with JPEGImages, ImageSets")
    voc.add_argument(
        "--split", required=True, help="lists of ImageSets/Main or Segmentation: train or train,val"
    )
    voc.add_argument(
        "--classes",
        help="class names in the order of their labels: a,b,c (default: VOC's 20 if no other is "
        "found, else all names in the Annotations folder, sorted)",
    )
    voc.add_argument(
        "--task",
        choices=("detection", "instances", "semantic"),
        default="detection",
        help="boxes, masks of objects, or classes of pixels (default: detection)",
    )
    voc.add_argument(
        "--masks",
        dest="task",
        action="store_const",
        const="instances",
        help="the same as --task instances",
    )


def _add_cityscapes(words: Any, shared: dict[str, Any]) -> None:
    city = words.add_parser("cityscapes", help="Cityscapes: leftImg8bit and gtFine", **shared)
    city.add_argument("--root", type=Path, required=True, help="folder with leftImg8bit, gtFine")
    city.add_argument("--split", required=True, help="train, val, train,val or test")
    city.add_argument(
        "--task",
        choices=("instances", "semantic"),
        default="instances",
        help="8 classes of objects, or 19 classes of pixels (default: instances)",
    )
    city.add_argument(
        "--instances-from",
        choices=("polygons", "instance_ids"),
        default="polygons",
        help="the JSON files or the PNGs made of them; the outcome is the same (default: polygons)",
    )


def _reader(options: argparse.Namespace) -> Reader:
    if options.word == "voc":
        classes = _names(options.classes) if options.classes else None
        return VocReader(options.root, _names(options.split), classes, options.task)
    if options.word == "cityscapes":
        splits = _names(options.split)
        return CityscapesReader(options.root, splits, options.task, options.instances_from)
    if options.word == "coco":
        return CocoReader(options.images, options.annotations)
    if options.word == "from-shards":
        keys = None if options.keys is None else _lines(options.keys)
        return ShardSetReader(options.sets, keys)
    return ShapesReader(options.images, options.seed, options.size)


def _lines(path: Path) -> list[str]:
    """The lines of a file that are not empty."""
    if not path.is_file():
        raise UserError(f"There is no file {path}. Give --keys a file with one key a line.")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _say(sentence: str) -> None:
    print(f"lit-detseg: {sentence}", file=sys.stderr)


def _names(text: str) -> list[str]:
    """Comma-separated names."""
    return [name.strip() for name in text.split(",") if name.strip()]


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


def _print_tables(summary: dict[str, Any], index: ShardIndex, is_whole: bool) -> None:
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
    if is_whole:
        console.print(f"All rows: 'report' in {summary['out']}/index.json", highlight=False)
