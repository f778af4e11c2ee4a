"""Mask R-CNN measured against torchvision's builder, and RoIAlign against what it replaced.

`--against torchvision` trains ours and torchvision's with one recipe: the same data, backbone,
schedule and number of steps. `--against pooling` trains ours with RoIAlign and with RoIPool (box
and mask branch alike), with several seeds. Runs are kept, and go on where they were.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from lit_detseg.bench.recipe_runs import RecipeRun
from lit_detseg.errors import UserError

SCORES = {"map": "mask AP", "map_50": "AP50", "map_75": "AP75", "box_map": "box AP"}
POOLINGS = ("roi_align", "roi_pool")
METRIC = "lit_detseg.metrics.coco_mask_ap.CocoMaskAveragePrecision"  # of `MaskRCNN`, if not given
GIVEN_TO_RIVAL = ("anchors", "proposals", "rois", "detections", "masks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lit-detseg bench masks`."""
    parser.add_argument("--recipe", type=Path, required=True, help="a recipe of MaskRCNN")
    parser.add_argument("--against", choices=("torchvision", "pooling"), default="torchvision")
    parser.add_argument("--train", required=True, help="shards to train on")
    parser.add_argument("--test", required=True, help="shards to evaluate on, once, at the end")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each (default: 1)")
    parser.add_argument(
        "--steps", type=int, help="of training (default: the recipe's); a OneCycleLR gets as many"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(options: argparse.Namespace) -> None:
    """Train what is not trained yet, and print.

    Raises:
        UserError: when the recipe cannot be used, or training fails.
    """
    for option in ("seeds", "steps"):
        if (number := getattr(options, option)) is not None and number < 1:
            raise UserError(f"--{option} {number}: give at least 1.")
    recipe = _read(options.recipe)
    steps = options.steps or recipe["trainer"]["max_steps"]
    recipe = with_steps(recipe, steps)
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, float]]] = {}
    for name, variant in _variants(recipe, options.against):
        file = options.out / f"{name}.yaml"
        file.write_text(yaml.safe_dump(variant, sort_keys=False), encoding="utf-8")
        results[name] = [
            _result(options.out / f"{name}_{seed}", file, seed, steps, options)
            for seed in range(options.seeds)
        ]
    if options.json:
        print(json.dumps({"steps": steps, "runs": results}))
    else:
        _print_table(f"{options.recipe.stem}, {steps} steps, {options.test}", results)


def _result(
    path: Path, recipe: Path, seed: int, steps: int, options: argparse.Namespace
) -> dict[str, float]:
    """Scores and minutes of one run, trained if need be."""
    arguments = (
        *("-c", str(recipe)),
        f"--seed_everything={seed}",
        f"--data.seed={seed}",
        f"--data.train={options.train}",
        f"--data.val={options.test}",
        f"--trainer.val_check_interval={steps}",
        "--trainer.check_val_every_n_epoch=null",
        "--trainer.accelerator=auto",
        "--trainer.devices=1",
        "--run.pictures=8",
    )
    one = RecipeRun(path, arguments)
    one.finish()
    return {**{name: one.scores[name] for name in SCORES}, "minutes": one.minutes}


def _variants(recipe: dict[str, Any], against: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The recipes to compare, by name."""
    if against == "torchvision":
        yield "ours", recipe
        yield "torchvision", rival_recipe(recipe)
        return
    for pooling in POOLINGS:
        variant = deepcopy(recipe)
        arguments = variant["model"]["init_args"]
        for part in ("rois", "masks"):
            arguments[part] = {**arguments.get(part, {}), "pooling": pooling}
        yield pooling, variant


def with_steps(recipe: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The recipe with so many steps; a schedule that knows its length (OneCycleLR) has as many."""
    shorter = deepcopy(dict(recipe))
    before, shorter["trainer"]["max_steps"] = shorter["trainer"]["max_steps"], steps
    schedule = shorter["model"]["init_args"].get("lr_scheduler", {}).get("init_args", {})
    if "total_steps" in schedule:
        schedule["total_steps"] += steps - before
    return shorter


def rival_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The same recipe for torchvision's builder.

    Raises:
        UserError: when the recipe's backbone is not one that both can build.
    """
    variant = deepcopy(dict(recipe))
    ours = variant["model"]["init_args"]
    backbone = ours.pop("backbone")
    class_path = backbone.get("class_path") if isinstance(backbone, Mapping) else None
    if not str(class_path).endswith("ResNetFPN"):
        raise UserError(
            f"The recipe's backbone is {backbone}. Torchvision's builder takes a ResNetFPN: name "
            "one by its class_path."
        )
    learning = ours.pop("anchor_learning", {})
    for name in ("rpn_channels", "backbone_weights"):  # it has none, or none of its own
        ours.pop(name, None)
    init_args = {
        "network": backbone["init_args"]["network"],
        "channels": backbone["init_args"].get("fpn_channels", 256),
        "num_anchors": learning.get("num_samples", 256),
        "head_width": ours.pop("head_width", 1024),
        **{name: ours.pop(name) for name in GIVEN_TO_RIVAL},
    }
    ours.setdefault("metric", {"class_path": METRIC})
    path = "lit_detseg.bench.torchvision_rival.TorchvisionRival"
    variant["model"] = {
        "class_path": "lit_detseg.modules.DetectionModule",
        "init_args": {"model": {"class_path": path, "init_args": init_args}, **ours},
    }
    return variant


def _read(path: Path) -> dict[str, Any]:
    """A recipe, with the data file that it names beside it."""
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(recipe["data"], str):
            file = path.parent / recipe["data"]
            recipe["data"] = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read as a recipe ({error}).") from error
    return recipe


def _print_table(title: str, results: Mapping[str, list[dict[str, float]]]) -> None:
    table = Table(title=title)
    table.add_column("")
    for name in (*SCORES.values(), "minutes"):
        table.add_column(name, justify="right")
    for name, runs in results.items():
        table.add_row(name, *(_shown([run[key] for run in runs]) for key in (*SCORES, "minutes")))
    Console().print(table)


def _shown(values: list[float]) -> str:
    """The mean, and the deviation of several."""
    mean = statistics.fmean(values)
    digits = 1 if mean > 1 else 3
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{deviation}"
