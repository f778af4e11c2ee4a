"""The first minutes with the package: draw, pack, train, evaluate, show."""

from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lit_detseg.data.index import INDEX_FILE, ShardIndex
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.errors import UserError
from lit_detseg.runs.directory import RunDirectory

TRAINING_IMAGES, HELD_OUT_IMAGES = 1500, 200
RECIPE = Path(__file__).parents[1] / "configs/recipes/faster_rcnn_tiny_shapes.yaml"

# Runs the words `fit` or `validate` of the command line and returns what was logged last. Passed
# in, because the command line stands above this floor.
Run = Callable[[list[str]], Mapping[str, float]]


def run_demo(folder: Path, run: Run, more: list[str], images: int = TRAINING_IMAGES) -> float:
    """The whole journey on drawn shapes, offline, without an account.

    A demo that was interrupted is continued; after a finished one a new run is started.

    Args:
        folder: where shards and runs go.
        run: carries out a command.
        more: further options for `fit`, such as `--trainer.max_steps=20`.
        images: how many are drawn to train on; the held-out ones are as many at most.

    Returns:
        AP at IoU 0.5 on the held-out images, in [0, 1].
    """
    if not RECIPE.is_file():
        raise UserError(f"The demo's recipe {RECIPE} is not there: run it in a checkout.")
    console = Console()
    train, val = _draw(folder, console, images)
    directory, continued = _choose_run(folder)
    console.rule("[bold]2  Train a small Faster R-CNN")
    options = [
        *("-c", str(RECIPE)),
        f"--data.train={train}",
        f"--data.val={val}",
        f"--run.dir={directory.path}",
        "--trainer.accelerator=cpu",
    ]
    console.print(f"lit-detseg fit {' '.join(options)}", style="dim", soft_wrap=True)
    run(["fit", *options, *(["--ckpt_path=last"] if continued else []), *more])
    console.rule("[bold]3  Evaluate the best checkpoint on held-out images")
    scores = run(["validate", *options, "--ckpt_path=best", "--verbose=false"])
    _show(console, directory, scores)
    return float(scores["val/map_50"])


def _draw(folder: Path, console: Console, images: int) -> tuple[Path, Path]:
    """The two shard sets, drawn the first time."""
    train, val = folder / "shards" / "train", folder / "shards" / "val"
    console.rule("[bold]1  Draw a data set and pack it into shards")
    for shards, count, seed in ((train, images, 0), (val, min(images, HELD_OUT_IMAGES), 1)):
        if not (shards / INDEX_FILE).is_file():
            with console.status(f"Drawing {count} images ..."):
                pack(ShapesReader(images=count, seed=seed), shards)
        held = len(ShardIndex.read(shards))
        console.print(f"{held} images with boxes and masks are in {shards}", soft_wrap=True)
    return train, val


def _choose_run(folder: Path) -> tuple[RunDirectory, bool]:
    """The run to work in, and whether it has begun already."""
    number = 1
    while (path := folder / f"run{number}").is_dir():
        directory = RunDirectory(path)
        if directory.attempts and directory.attempts[-1].get("status") != "finished":
            return directory, directory.is_used
        number += 1
    return RunDirectory(path), False


def _show(console: Console, directory: RunDirectory, scores: Mapping[str, float]) -> None:
    """The scores as a table, and where everything is."""
    table = Table(title="COCO average precision on held-out images")
    table.add_column("score")
    table.add_column("value", justify="right")
    for name, value in scores.items():
        if name.startswith("val/map"):
            table.add_row(name.removeprefix("val/"), f"{value:.3f}")
    console.rule("[bold]4  Look at it")
    console.print(table)
    pictures = sorted(directory.pictures.glob("*.png"))
    if pictures:
        console.print(f"pictures      {pictures[-1]}", soft_wrap=True)
    console.print(f"everything    {directory.path}", soft_wrap=True)
    console.print(f"dashboard     tensorboard --logdir {directory.tensorboard}", soft_wrap=True)
    offline = directory.path / "wandb" / "offline-run-*"
    console.print(f"W&B, later    wandb sync {offline}", soft_wrap=True)
