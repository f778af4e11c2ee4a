"""`lit-detseg evaluate coco|voc|cityscapes`: score anybody's results files."""

import argparse
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.cli.cityscapes_scores import cityscapes_scores
from lit_detseg.cli.parser import ShortErrorParser
from lit_detseg.metrics.coco_accumulation import (
    average_precision_of_classes,
    coco_curves,
    mean_of_defined,
    summarize,
)
from lit_detseg.metrics.coco_matching import match_coco
from lit_detseg.metrics.pairs import box_iou, judge_in_chunks, mask_iou
from lit_detseg.metrics.results_files.coco import Shape, read_coco
from lit_detseg.metrics.results_files.voc import read_voc
from lit_detseg.metrics.voc_matching import match_voc, voc_average_precisions

# COCO's own names of its twelve numbers, in the order of `summarize`.
COCO_NAMES = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)


def main(arguments: list[str]) -> None:
    """Print the scores of results files against annotations.

    Raises:
        UserError: when a file cannot be read or does not fit to the other.
    """
    options = _parser().parse_args(arguments)
    if options.data_set == "coco":
        scores = coco_scores(options.annotations, options.results, options.iou)
        title = f"COCO {options.iou}: {options.results}"
    elif options.data_set == "cityscapes":
        scores = cityscapes_scores(options.annotations, options.results)
        title = f"Cityscapes: {options.results}"
    else:
        scores = voc_scores(options.annotations, options.results, options.image_set, options.iou)
        title = f"VOC, IoU above {options.iou:g}: {options.results}"
    if options.json:
        print(json.dumps(_without_nan(scores), indent=1, ensure_ascii=False))
    else:
        _print_tables(title, scores)


def coco_scores(annotations: Path, results: Path, shape: Shape = "bbox") -> dict[str, Any]:
    """COCO's twelve numbers and `per_class`, equal to pycocotools'; NaN where not defined."""
    files = read_coco(annotations, results, shape)
    iou_of_pairs = box_iou if shape == "bbox" else mask_iou
    matches, sought = judge_in_chunks(
        lambda found, truth: match_coco(found, truth, iou_of_pairs),
        files.found,
        files.truth,
        files.num_images,
    )
    curves = coco_curves(matches, sought, len(files.class_names))
    of_classes = average_precision_of_classes(curves)
    return {
        **dict(zip(COCO_NAMES, summarize(curves).values(), strict=True)),
        "per_class": dict(zip(files.class_names, of_classes, strict=True)),
    }


def voc_scores(
    annotations: Path, results: Path, image_set: Path | None = None, iou_threshold: float = 0.5
) -> dict[str, Any]:
    """`mAP_11_point`, `mAP_area` and `per_class`; NaN where a class has only difficult objects."""
    files = read_voc(annotations, results, image_set)
    for warning in files.warnings:
        print(f"lit-detseg: {warning}", file=sys.stderr)
    matches, sought = judge_in_chunks(
        lambda found, truth: match_voc(found, truth, iou_threshold),
        files.found,
        files.truth,
        files.num_images,
    )
    num_classes = len(files.class_names)
    eleven_point = voc_average_precisions(matches, sought, num_classes, "11_point")
    area = voc_average_precisions(matches, sought, num_classes, "area")
    objects = np.bincount(sought.label[sought.counts[:, 0]], minlength=num_classes).tolist()
    return {
        "mAP_11_point": mean_of_defined(np.array(eleven_point)),
        "mAP_area": mean_of_defined(np.array(area)),
        "per_class": {
            name: {"AP_11_point": eleven_point[i], "AP_area": area[i], "objects": objects[i]}
            for i, name in enumerate(files.class_names)
        },
    }


def _parser() -> ShortErrorParser:
    parser = ShortErrorParser(prog="lit-detseg evaluate", description="Score results files.")
    kinds = parser.add_subparsers(dest="data_set", required=True, metavar="coco|voc|cityscapes")
    coco = kinds.add_parser("coco", help="COCO's twelve numbers", allow_abbrev=False)
    coco.add_argument("--annotations", type=Path, required=True, help="instances_....json")
    coco.add_argument("--results", type=Path, required=True, help="JSON list of detections")
    coco.add_argument(
        "--iou", choices=("bbox", "segm"), default="bbox", help="what to compare (default: bbox)"
    )
    voc = kinds.add_parser("voc", help="Pascal VOC's mAP", allow_abbrev=False)
    voc.add_argument("--annotations", type=Path, required=True, help="folder of XML files")
    voc.add_argument(
        "--results", type=Path, required=True, help="folder of comp4_det_test_<class>.txt"
    )
    voc.add_argument(
        "--image-set", type=Path, help="list of images, one a line (default: every XML file)"
    )
    voc.add_argument(
        "--iou", type=_threshold, default=0.5, help="a hit is above this IoU (default: 0.5)"
    )
    cityscapes = kinds.add_parser(
        "cityscapes", help="Cityscapes' AP of instances", allow_abbrev=False
    )
    cityscapes.add_argument(
        "--annotations", type=Path, required=True, help="gtFine, or the folder of a split in it"
    )
    cityscapes.add_argument(
        "--results", type=Path, required=True, help="folder of <image>_pred.txt and masks"
    )
    for kind in (coco, voc, cityscapes):
        kind.add_argument("--json", action="store_true", help="print full precision, for programs")
    return parser


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
    return value


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for what is not defined."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _print_tables(title: str, scores: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    summary, per_class = dict(scores), scores["per_class"]
    del summary["per_class"]
    table = Table("", "", show_header=False)
    table.columns[1].justify = "right"
    for name, value in summary.items():
        table.add_row(name, _shown(value))
    of_classes = Table("class")
    rows = {name: row if isinstance(row, dict) else {"AP": row} for name, row in per_class.items()}
    for column in next(iter(rows.values()), {}):
        of_classes.add_column(column, justify="right")
    for name, row in rows.items():
        of_classes.add_row(name, *map(_shown, row.values()))
    console = Console()
    console.print(title, soft_wrap=True)
    console.print(table, of_classes)


def _shown(value: float) -> str:
    """Three decimals; a dash for what is not defined."""
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.3f}"
