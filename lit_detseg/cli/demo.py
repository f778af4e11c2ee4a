"""`lit-detseg demo`: the first word a newcomer types."""

import os
from collections.abc import Mapping
from pathlib import Path

from lit_detseg.cli.parser import ShortErrorParser


def main(arguments: list[str]) -> None:
    """Draw a data set, pack it, train a small Faster R-CNN, evaluate and show it.

    Args:
        arguments: what follows `demo` on the command line; unknown options go to `fit`.
    """
    parser = ShortErrorParser(
        prog="lit-detseg demo",
        description="Draw a data set, pack it, train a small Faster R-CNN, evaluate and show it. "
        "Further options go to `lit-detseg fit`, for example --trainer.max_steps=20.",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="where everything goes")
    parser.add_argument("--images", type=int, default=1500, help="images drawn to train on")
    options, more = parser.parse_known_args(arguments)
    os.environ.setdefault("WANDB_MODE", "offline")

    from lit_detseg.demo import run_demo

    ap50 = run_demo(options.out, _run, more, options.images)
    print(f"AP50 {ap50:.3f}", flush=True)


def _run(words: list[str]) -> Mapping[str, float]:
    from lit_detseg.cli.fit import DetSegCLI

    logged = DetSegCLI(words).trainer.callback_metrics
    return {name: float(value) for name, value in logged.items()}
