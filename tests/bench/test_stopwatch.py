"""Seconds per image: of the steps alone, the first one left out."""

import json
import time

import pytest
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from lit_detseg.bench.stopwatch import Stopwatch


class Batch(list):
    """As many targets as it has elements."""

    @property
    def targets(self):
        return self


class Sleeper(LightningModule):
    """The first step takes far longer than the others, which take 20 ms an image."""

    def test_step(self, batch, batch_index):
        time.sleep(1.0 if batch_index == 0 else 0.02 * len(batch))


def measure(folder, images):
    loader = DataLoader(range(images), batch_size=2, collate_fn=Batch)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Stopwatch(str(folder / "seconds.json"))],
    )
    trainer.test(Sleeper(), loader, verbose=False)
    return json.loads((folder / "seconds.json").read_text())


def test_the_first_batch_warms_up(tmp_path):
    measured = measure(tmp_path, images=7)
    assert measured["images"] == 5
    assert measured["seconds_per_image"] >= 0.02


@pytest.mark.parametrize("images", [1, 2])
def test_a_single_batch_gives_no_time(tmp_path, images):
    assert measure(tmp_path, images) == {"images": 0, "seconds_per_image": None}
