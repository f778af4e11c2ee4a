"""What a run file says about the run directory: the `run:` section of the command line."""

from dataclasses import dataclass
from typing import Literal

ResultsForm = Literal["coco", "voc", "cityscapes"]
Results = Literal["coco", "voc", "cityscapes", "none"]


@dataclass
class RunSettings:
    """Where a run lives and what it leaves there.

    Args:
        dir: the run directory; `trainer.default_root_dir` when not given, and without that
            `runs/<name of the recipe>`.
        start_from: whose weights a new run starts from, one or several: a checkpoint or the
            directory of a run, and after a colon the parts to take, `runs/coco:backbone,rpn`. Not
            looked at when a checkpoint is continued.
        checkpoint_every: optimiser steps between two checkpoints.
        keep_checkpoints: how many of the newest checkpoints stay, beside the best.
        monitor: logged score that the best checkpoint maximises; the main one of the model's metric
            when not given, `val/map` of most.
        pictures: validation pictures drawn with their boxes after each validation; 0 for none.
        wandb_project: project name on the W&B dashboard.
        results: results files that validate, test and predict write into `results/<word>`: COCO's
            (one JSON list), VOC's (a text file per class) or Cityscapes' (masks, which need a
            detector with masks). Not given: predict writes COCO's as `predictions.json`.
    """

    dir: str | None = None
    start_from: str | list[str] | None = None
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    monitor: str | None = None
    pictures: int = 8
    wandb_project: str = "lit_detseg"
    results: Results | None = None
