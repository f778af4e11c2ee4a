"""Images as the loss sees them: out of the very objects that training reads its batches from."""

import reprlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lit_detseg.data.loading.batches import BatchReader, unpack_batch
from lit_detseg.data.order import TrainingOrder
from lit_detseg.data.records import Object
from lit_detseg.structures import BoxTarget

EPOCHS_SEARCHED = 8  # more than views are wanted: an epoch may drop an image, or not list it


class Sighting(NamedTuple):
    """Where training shows an image."""

    epoch: int
    position: int  # within the epoch


class TrainingView(NamedTuple):
    """One image of a training batch, before padding."""

    pixels: np.ndarray  # (H, W, 3) uint8, RGB
    target: BoxTarget
    companions: tuple[str, ...]  # keys of the images that may have been mixed in


class TrainingViews:
    """Reads images as a training run does.

    Args:
        batches: of training.
        order: of training.
    """

    def __init__(self, batches: BatchReader, order: TrainingOrder) -> None:
        self.batches = batches
        self.order = order

    def sightings(self, samples: np.ndarray, count: int) -> dict[int, list[Sighting]]:
        """The first `count` times that training shows each of some images, maybe fewer."""
        found: dict[int, list[Sighting]] = {sample: [] for sample in samples.tolist()}
        trained = self.order.steps * self.order.batch
        for epoch in range(count + EPOCHS_SEARCHED):
            if all(len(of_sample) >= count for of_sample in found.values()):
                break
            shown = self.order.epoch(epoch)[:trained]
            for position in np.flatnonzero(np.isin(shown, samples)).tolist():
                of_sample = found[int(shown[position])]
                if len(of_sample) < count:
                    of_sample.append(Sighting(epoch, position))
        return found

    def read(self, sighting: Sighting) -> TrainingView:
        """What the loss is given of one image. Only its padding depends on the rest of the batch.

        Raises:
            UserError: when the image cannot be read or a transform refuses it.
        """
        step, place = divmod(sighting.position, self.order.batch)
        slots = self.order.slots(sighting.epoch * self.order.steps + step)
        one = slice(place, place + 1)
        slots = slots._replace(
            samples=slots.samples[one],
            seeds=None if slots.seeds is None else slots.seeds[one],
            companions=None if slots.companions is None else slots.companions[one],
        )
        batch = unpack_batch(self.batches[slots])
        height, width = batch.images.sizes[0].tolist()
        pixels = batch.images.pixels[0, :, :height, :width].permute(1, 2, 0).numpy()
        companions: Sequence[int] = [] if slots.companions is None else slots.companions[0].tolist()
        keys = tuple(str(self.batches.reader.keys[number]) for number in companions)
        return TrainingView(np.ascontiguousarray(pixels), batch.targets[0], keys)

    def is_learned(self, item: Object) -> bool:
        """Whether an annotated object is a target of training, unless it is moved out of sight."""
        difficult = item.is_difficult and not self.batches.train_on_difficult
        return not item.is_crowd and not difficult

    def description(self) -> dict[str, Any]:
        """What is done to the images, for people."""
        return {
            "transforms": [_call(transform) for transform in self.batches.transforms],
            "masks": self.batches.masks,
            "train_on_difficult": self.batches.train_on_difficult,
            "seed": self.order.seed,
            "batch": self.order.images_per_optimiser_step,
            "sampling": self.order.sampling,
        }


def _call(transform: Any) -> str:
    """A transform as one would write it, without private attributes."""
    settings = {name: value for name, value in vars(transform).items() if name[0] != "_"}
    words = [f"{name}={' '.join(reprlib.repr(value).split())}" for name, value in settings.items()]
    return f"{type(transform).__name__}({', '.join(words)})"
