"""Stop at the first broken loss, and never store broken weights."""

from collections.abc import Iterable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor


class FiniteLoss(Callback):
    """Raise `FloatingPointError` when a training loss is infinite or NaN.

    The logged losses are looked at now and then, and always before a checkpoint is written,
    together with the weights: the last checkpoint is one to go on from.

    Args:
        every: batches between two looks; each look makes the CPU wait for the GPU.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = every

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Look at everything logged under `train/`."""
        if batch_index % self.every:
            return
        broken = _broken(_losses(trainer).values())
        # One rank must not leave the others waiting for its gradients.
        if trainer.strategy.reduce_boolean_decision(broken, all=False):
            guilty = batch if self.every == 1 else None
            raise FloatingPointError(_message(trainer, "the loss of another rank", guilty))

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to save what came after a broken loss."""
        if trainer.state.fn != "fit":
            return
        broken = _broken([*_losses(trainer).values(), *(p.data for p in module.parameters())])
        if trainer.strategy.reduce_boolean_decision(broken, all=False):
            raise FloatingPointError(f"{_message(trainer, 'a weight')} No checkpoint was written.")


def _message(trainer: Trainer, otherwise: str, batch: Any = None) -> str:
    """What is broken: the losses of this rank, or else `otherwise`; and on which images."""
    losses = _losses(trainer)
    broken = [name for name, value in losses.items() if not torch.isfinite(value)]
    images = ", ".join(target.image_id for target in getattr(batch, "targets", None) or [])
    where = f" on the images {images}" if images and broken else ""
    return (
        f"At step {trainer.global_step}, {' and '.join(broken) or otherwise} is not finite"
        f"{where} ({', '.join(f'{name} = {value:.3g}' for name, value in losses.items())}). "
        "Lower the learning rate or lengthen the warm-up. If this is the first step, look "
        "for an empty or inverted ground-truth box."
    )


def _losses(trainer: Trainer) -> dict[str, Tensor]:
    return {name: v for name, v in trainer.callback_metrics.items() if name.startswith("train/")}


def _broken(tensors: Iterable[Tensor]) -> bool:
    """Whether any value is infinite or NaN; waits for the GPU once."""
    finite = [torch.isfinite(tensor).all() for tensor in tensors]
    return bool(finite) and not torch.stack([f.to(finite[0].device) for f in finite]).all().item()
