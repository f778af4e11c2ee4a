"""A broken loss stops the run, and its weights are never stored."""

import pytest
import torch

from lit_detseg.callbacks.checkpoint import RunCheckpoint
from lit_detseg.callbacks.finite_loss import FiniteLoss
from lit_detseg.runs.checkpoints import load_checkpoint, newest_valid_checkpoint
from tests.callbacks.tiny import TinyModule, tiny_trainer


def broken_from(step: int) -> TinyModule:
    module = TinyModule()
    module.broken_from = step
    return module


def test_the_first_look_after_a_broken_loss_stops(tmp_path):
    trainer = tiny_trainer(tmp_path, FiniteLoss(every=1))
    message = r"At step 3, train/loss is not finite on the images 2-0, 2-1 \(train/loss = nan\)"
    with pytest.raises(FloatingPointError, match=message):
        trainer.fit(broken_from(2))  # the third step, on the batch of number 2


def test_a_checkpoint_is_refused_between_two_looks(tmp_path):
    trainer = tiny_trainer(tmp_path, FiniteLoss(every=1000))
    with pytest.raises(FloatingPointError, match=r"train/loss is not finite .* No checkpoint"):
        trainer.fit(broken_from(2))

    newest = newest_valid_checkpoint(tmp_path / "checkpoints")
    assert newest.name == "step-00000002.ckpt"
    assert torch.isfinite(load_checkpoint(newest)["state_dict"]["weights"]).all()


class BreakWeights(FiniteLoss):
    """Break a weight without the loss knowing."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        if trainer.global_step == 3:
            module.weights.data[0] = torch.inf


@pytest.mark.parametrize("every_n_steps", [1, 1000], ids=["at a step", "after a validation"])
def test_broken_weights_are_refused_too(every_n_steps, tmp_path):
    checkpoint = RunCheckpoint(tmp_path, every_n_steps=every_n_steps)
    with pytest.raises(FloatingPointError, match="is not finite"):
        tiny_trainer(tmp_path, BreakWeights(), checkpoint).fit(TinyModule())
    names = [path.name for path in (tmp_path / "checkpoints").glob("*.ckpt")]
    assert sorted(names) == (
        [] if every_n_steps > 1 else ["step-00000001.ckpt", "step-00000002.ckpt"]
    )


def test_a_healthy_run_is_left_alone(tmp_path):
    trainer = tiny_trainer(tmp_path, FiniteLoss(every=1))
    trainer.fit(TinyModule())
    assert trainer.global_step == 8
