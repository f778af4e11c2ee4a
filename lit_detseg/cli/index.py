"""`lit-detseg index`: use webdataset tars made by others as they are."""

import argparse
import json
from pathlib import Path
from typing import Any

from lit_detseg.cli.parser import ShortErrorParser, add_workers_argument
from lit_detseg.cli.progress import images_bar
from lit_detseg.data.foreign_tars.classes import Classes
from lit_detseg.data.foreign_tars.index_tars import index_tars
from lit_detseg.data.index import ShardIndex
from lit_detseg.data.packing.checks import ON_ERROR

FORMS = """\
Samples are put together by webdataset's rule: what stands before the first dot of a file's name is
its key. The image is KEY.jpg, KEY.jpeg or KEY.png; KEY.json may be

  a record of this package
  COCO's rows     {"annotations": [{"bbox": [x, y, width, height], "category_id": 3}, ...]}, or the
                  list alone; also "category" or "category_name", "segmentation", "area", "iscrowd"
  two lists       {"boxes": [[x1, y1, x2, y2], ...], "labels": [...]}; also "area", "iscrowd"

Without KEY.json the image can be predicted on, not trained on. All other files are left alone.
"""


def main(arguments: list[str]) -> None:
    """Write the index, and print what it holds.

    Raises:
        UserError: when the tars have something to mend.
    """
    options = _parser().parse_args(arguments)
    with images_bar("Indexing") as progress:
        index = index_tars(
            options.tars,
            options.out,
            _classes(options),
            with_records=not options.images_only,
            on_error=options.on_error,
            overwrite=options.overwrite,
            workers=options.workers,
            progress=progress,
        )
    summary = _summary(index, options.out or options.tars[0].parent)
    if options.json:
        print(json.dumps(summary, ensure_ascii=False))
    else:
        _print_tables(summary, index)


def _parser() -> argparse.ArgumentParser:
    parser = ShortErrorParser(
        prog="lit-detseg index",
        description="Make an index for webdataset tars made by others, without changing them.",
        epilog=FORMS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tars", nargs="+", type=Path, metavar="TAR", help="in reading order")
    parser.add_argument("--out", type=Path, help="folder of the index (default: that of the tars)")
    names = parser.add_mutually_exclusive_group()
    names.add_argument(
        "--classes",
        help="names of the classes 0, 1, 2...: a,b,c (default: the names found, sorted)",
    )
    names.add_argument(
        "--categories",
        type=Path,
        metavar="FILE",
        help="COCO file with ids and names of the classes",
    )
    parser.add_argument(
        "--images-only", action="store_true", help="leave the JSON files alone: no annotations"
    )
    parser.add_argument(
        "--on-error",
        choices=ON_ERROR,
        default="fail",
        help="bad rows: 'fail' lists them all and writes nothing; 'drop' leaves bad objects and "
        "images out of the index; 'clip' does so too, but cuts boxes at the image's border "
        "(default: fail)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an index that is there")
    add_workers_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the summary for programs")
    return parser


def _classes(options: argparse.Namespace) -> Classes | None:
    if options.categories is not None:
        return Classes.from_categories(options.categories)
    if options.classes is not None:
        names = [name.strip() for name in options.classes.split(",") if name.strip()]
        return Classes.from_names(names)
    return None


def _summary(index: ShardIndex, out: Path) -> dict[str, Any]:
    objects = [0] * len(index.label_map)
    for counts in index.class_counts:
        for label, count in counts.items():
            objects[label] += count
    return {
        "images": len(index),
        "annotated": int((index.record.size > 0).sum()),
        "objects": sum(objects),
        "tars": len(index.shards),
        "records": None if index.records is None else index.records.name,
        **{
            name: index.report[name]
            for name in ("images_read", "objects_read", "dropped", "clipped", "ignored_files")
        },
        "out": str(out),
        "classes": dict(zip(index.label_map.names, objects, strict=True)),
    }


def _print_tables(summary: dict[str, Any], index: ShardIndex) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"Indexed in {summary['out']}", title_justify="left")
    table.add_column("")
    table.add_column("indexed", justify="right")
    table.add_column("read", justify="right")
    table.add_row("images", str(summary["images"]), str(summary["images_read"]))
    table.add_row("  annotated", str(summary["annotated"]), "")
    table.add_row("objects", str(summary["objects"]), str(summary["objects_read"]))
    for name, count in summary["classes"].items():
        table.add_row(f"  {name}", str(count), "")
    table.add_row("tars", str(summary["tars"]), "")
    console.print(table)
    for kind, count in summary["dropped"].items():
        console.print(f"dropped: {count} {kind.replace('_', ' ')}", highlight=False)
    if summary["clipped"]:
        console.print(f"cut at the border: {summary['clipped']}", highlight=False)
    for row in (index.report["dropped_rows"] + index.report["clipped_rows"])[:10]:
        console.print(f"  {row}", markup=False, highlight=False, soft_wrap=True)
    for suffix, count in summary["ignored_files"].items():
        console.print(f"left alone: {count} {suffix}", markup=False, highlight=False)
    where = summary["records"] or "the tars themselves"
    console.print(f"Records: {where}. All rows: 'report' in index.json", highlight=False)
