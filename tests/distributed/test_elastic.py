"""A run killed on four processes goes on with two, then with four again, or alone: gloo, for real.

The total batch is the same, so every optimiser step sees the same images in the same order, and
loses the same but for the order in which floats are added.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import run_command

STEPS, BATCH = 12, 4
RECORDER = "tests.training_aids.StepRecorder"
KILLER = "tests.training_aids.KillAfterStep"
# No dropout: its random numbers are of the rank. Plain SGD: see `test_two_ranks.py`.
TOY = (
    "--model=lit_detseg.modules.DetectionModule",
    "--model.model=tests.toy_detector.ToyDetector",
    "--model.model.dropout=0",
    "--model.metric=lit_detseg.metrics.coco_ap.CocoAveragePrecision",
    "--model.optimizer=torch.optim.SGD",
    "--model.optimizer.lr=0.5",
)


class Attempt:
    """One start of the command, and what its ranks wrote down."""

    def __init__(
        self, shards: Path, run: Path, name: str, ranks: int, *more: str, kill_at: int = 0
    ):
        self.ranks = ranks
        self.notes = run.parent / f"{run.name}_{name}.notes"
        callbacks = [f"--trainer.callbacks={RECORDER}", f"--trainer.callbacks.path={self.notes}"]
        if kill_at:
            callbacks += [f"--trainer.callbacks+={KILLER}", f"--trainer.callbacks.step={kill_at}"]
        result = run_command(
            "fit",
            *TOY,
            "--data=lit_detseg.data.ShapesDataModule",
            f"--data.train={shards / 'train'}",
            f"--data.total_batch_size={BATCH}",
            "--data.num_workers=1",
            f"--run.dir={run}",
            "--run.pictures=0",
            "--run.checkpoint_every=2",
            "--trainer.accelerator=cpu",
            "--trainer.log_every_n_steps=1",
            f"--trainer.max_steps={STEPS}",
            f"--trainer.devices={ranks}",
            "--ckpt_path=last",
            *callbacks,
            *more,
            check=not kill_at,
        )
        assert result.returncode == (-9 if kill_at else 0), result.stderr

    def steps(self) -> dict[int, tuple[list[str], float]]:
        """By optimiser step: the images in global order, the mean loss over ranks and batches."""
        of_ranks = [list(self._lines(rank)) for rank in range(self.ranks)]
        assert len({len(lines) for lines in of_ranks}) == 1  # equal numbers on each rank
        steps: dict[int, tuple[list[str], float]] = {}
        images: list[str] = []
        losses: list[float] = []
        for lines in zip(*of_ranks, strict=True):
            images += [image for line in lines for image in line["ids"]]
            losses += [float.fromhex(line["losses"]["train/loss"]) for line in lines]
            if len(images) == BATCH:  # accumulated
                steps[lines[0]["step"]] = images, sum(losses) / len(losses)
                images, losses = [], []
        return steps

    def _lines(self, rank: int) -> Iterator[dict]:
        path = self.notes.with_suffix(f".{rank}.jsonl")
        return map(json.loads, path.read_text().splitlines())


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory):
    attempt = Attempt(shards, tmp_path_factory.mktemp("undisturbed") / "run", "alone", ranks=1)
    steps = attempt.steps()
    assert list(steps) == list(range(1, STEPS + 1))
    return steps


@pytest.fixture(scope="module")
def killed_on_four(shards, tmp_path_factory):
    """A run on four ranks that died in the second epoch, one step after a checkpoint."""
    run = tmp_path_factory.mktemp("four") / "run"
    return run, Attempt(shards, run, "first", ranks=4, kill_at=7)


def assert_same(steps, undisturbed, expected):
    assert list(steps) == list(expected)
    for step, (images, loss) in steps.items():
        assert images == undisturbed[step][0], f"step {step}"
        assert loss == pytest.approx(undisturbed[step][1], rel=1e-4), f"step {step}"


def test_four_ranks_then_two_then_four(shards, undisturbed, killed_on_four, tmp_path):
    run, first = killed_on_four
    shutil.copytree(run, tmp_path / "run")

    second = Attempt(shards, tmp_path / "run", "second", ranks=2, kill_at=9)
    third = Attempt(shards, tmp_path / "run", "third", ranks=4)

    assert_same(first.steps(), undisturbed, range(1, 8))
    assert_same(second.steps(), undisturbed, range(7, 10))  # checkpoints at 6 and 8
    assert_same(third.steps(), undisturbed, range(9, STEPS + 1))


def test_four_ranks_then_one_that_accumulates_four_batches(
    shards, undisturbed, killed_on_four, tmp_path
):
    run, _ = killed_on_four
    shutil.copytree(run, tmp_path / "run")

    alone = Attempt(shards, tmp_path / "run", "alone", 1, "--trainer.accumulate_grad_batches=4")

    assert_same(alone.steps(), undisturbed, range(7, STEPS + 1))
