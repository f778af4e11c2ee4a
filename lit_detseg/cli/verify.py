"""`lit-detseg verify`: what is wrong with shard sets, before anything is trained on them."""

import argparse
import json
from pathlib import Path
from typing import Any

from lit_detseg.cli.parser import ShortErrorParser, add_workers_argument
from lit_detseg.cli.progress import images_bar
from lit_detseg.data.verification.findings import Findings, Kind, Severity
from lit_detseg.data.verification.verify import Report, verify
from lit_detseg.errors import UserError

EXAMPLES = 3  # findings of a kind that people are shown
CLASSES_SHOWN = 20


def main(arguments: list[str]) -> None:
    """Verify, print what was found, and end with code 1 if there are errors.

    Raises:
        UserError: when a folder is not a shard set, or its index cannot be read.
        SystemExit: with code 1, when there are errors.
    """
    options = _parser().parse_args(arguments)
    if options.report is not None and not options.report.absolute().parent.is_dir():
        raise UserError(f"--report {options.report}: there is no such folder. Make it first.")
    for shards in options.shards:
        if "://" in shards:
            raise UserError(f"{shards}: verify reads folders. Verify shards before they are sent.")
    with images_bar("Verifying") as progress:
        report = verify([Path(one) for one in options.shards], options.workers, progress)
    text = json.dumps(report.to_json(), ensure_ascii=False)
    if options.report is not None:
        options.report.write_text(text + "\n", encoding="utf-8")
    if options.json:
        print(text)
    else:
        _print_tables(report)
    if not report.is_clean:
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = ShortErrorParser(
        prog="lit-detseg verify",
        description="Decode and check everything in shard sets, and compare the sets.",
        epilog="Exit code: 0 without errors (there may be warnings), 1 with errors, 2 when the "
        "command or a folder is wrong.",
    )
    parser.add_argument(
        "shards", nargs="+", metavar="SHARDS", help="folders of shard sets, a split each"
    )
    add_workers_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the report for programs")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the same JSON to a file")
    return parser


def _print_tables(report: Report) -> None:
    from rich.console import Console

    console = Console()
    console.print(_facts(report.sets))
    console.print(_classes(report.sets))
    _print_findings(console, report.findings)
    console.print(verdict(report), markup=False, highlight=False, soft_wrap=True)


def _facts(sets: list[dict[str, Any]]) -> Any:
    """What each set holds, one column a set."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Shard sets", title_justify="left")
    table.add_column("")
    for one in sets:
        table.add_column(escape(one["shards"]), justify="right", overflow="fold")
    rows = {
        "images": lambda s: f"{s['images']} of {s['samples']}",
        "tars": lambda s: f"{s['files']}, {s['bytes'] / 1e6:.1f} MB",
        "height, pixels": lambda s: _spread(s["heights"]),
        "width, pixels": lambda s: _spread(s["widths"]),
        "objects": lambda s: str(s["objects"]),
        "objects per image": lambda s: _spread(s["objects_per_image"]),
        "images without objects": lambda s: _share(s["empty_images"], s["samples"]),
        "images without annotation": lambda s: _share(s["images_without_annotation"], s["samples"]),
        "small, < 32 x 32": lambda s: _share(s["object_sizes"]["small"], s["objects"]),
        "medium": lambda s: _share(s["object_sizes"]["medium"], s["objects"]),
        "large, >= 96 x 96": lambda s: _share(s["object_sizes"]["large"], s["objects"]),
        "side, pixels: objects": lambda s: _histogram(s["object_sides"]),
        "polygons, RLEs": lambda s: f"{s['masks']['polygons']}, {s['masks']['rle']}",
        "crowd": lambda s: str(s["crowd"]),
        "difficult": lambda s: str(s["difficult"]),
        "truncated": lambda s: str(s["truncated"]),
    }
    for name, value in rows.items():
        table.add_row(name, *(value(one) for one in sets))
    return table


def _classes(sets: list[dict[str, Any]]) -> Any:
    """Objects of each class and the images they stand on, the most frequent classes first."""
    from rich.markup import escape
    from rich.table import Table

    totals: dict[str, int] = {}
    for one in sets:
        for name, counts in one["classes"].items():
            weight = counts["objects"] or one["pixels"].get(name, 0)
            totals[name] = totals.get(name, 0) + weight
    names = sorted(totals, key=lambda name: -totals[name])
    more = len(names) - CLASSES_SHOWN
    table = Table(
        title="Objects of each class (images)",
        title_justify="left",
        caption=f"and {more} classes more: --json" if more > 0 else None,
        caption_justify="left",
    )
    table.add_column("class")
    for one in sets:
        table.add_column(escape(one["shards"]), justify="right", overflow="fold")
    for name in names[:CLASSES_SHOWN]:
        table.add_row(escape(name), *(_class_cell(one, name) for one in sets))
    return table


def _class_cell(one: dict[str, Any], name: str) -> str:
    if name not in one["classes"]:
        return "no such class"
    counts = one["classes"][name]
    pixels = one["pixels"].get(name)
    text = f"{counts['objects']} ({counts['images']})"
    return text if pixels is None else f"{text}, {pixels} pixels"


def _print_findings(console: Any, findings: Findings) -> None:
    """Each kind with its count and first examples, errors first."""
    for severity in Severity:
        for kind in Kind:
            count = findings.counts[kind]
            if not count or kind.severity is not severity:
                continue
            console.print(
                f"[bold]{severity.upper()}: {kind.replace('_', ' ')}[/bold] ({count})",
                highlight=False,
            )
            for finding in findings.kept[kind][:EXAMPLES]:
                console.print(f"  {finding}", markup=False, highlight=False, soft_wrap=True)
            if count > EXAMPLES:
                console.print(f"  ... and {count - EXAMPLES} more: --json", highlight=False)


def verdict(report: Report) -> str:
    """The one line that says whether the sets may be used."""
    errors = report.findings.count(Severity.ERROR)
    warnings = report.findings.count(Severity.WARNING)
    also = f"; {warnings} warning{'s'[: warnings != 1]}" if warnings else ""
    if not errors:
        return f"OK: {report.images} images in {report.files} files{also}"
    where = []
    if report.findings.bad_images:
        where.append(f"{len(report.findings.bad_images)} of {report.images} images")
    if files := {place for place in report.findings.bad_files if place[1]}:
        where.append(f"{len(files)} of {report.files} files")
    place = f" in {' and '.join(where)}" if where else ""
    return f"BAD: {errors} error{'s'[: errors != 1]}{place}{also}"


def _spread(values: dict[str, float] | None) -> str:
    if values is None:
        return "-"
    if values["min"] == values["max"]:
        return f"{values['min']}"
    return f"{values['min']} to {values['max']}, mean {values['mean']:.1f}"


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.0%})" if total else str(count)


def _histogram(sides: dict[str, int]) -> str:
    """Objects by the square root of their area, from each bound to the next."""
    return "\n".join(f"from {bound}: {count}" for bound, count in sides.items()) or "-"
