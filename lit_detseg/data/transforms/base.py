"""What every transform of an image, its boxes and its masks is made of.

Images are (H, W, 3) uint8 arrays: OpenCV resizes and flips them several times faster than float
tensors would be, and nothing is rounded twice. A box belongs to the same things in the picture
before and after each transform, and so does a mask, which is moved but never redrawn. Whatever is
random comes from the generator that is passed in, made from the image's seed: the same on any
number of ranks and workers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lit_detseg.data.records import Object
from lit_detseg.ops.masks import pack_masks
from lit_detseg.structures import InstanceMasks, UserError

UNMOVED = (1.0, 1.0, 0.0, 0.0)  # the placement of what stands where it was annotated

# Reads one more image, as it comes out of the given transforms.
Companion = Callable[[Sequence["Transform"], int], "Sample"]


class Sample(NamedTuple):
    """An image and its objects on their way through the transforms."""

    image: np.ndarray  # (H, W, 3) uint8, RGB
    boxes: np.ndarray  # (N, 4) float64 XYXY, pixels of `image`
    items: tuple[Object, ...]  # length N, as annotated
    placements: np.ndarray  # (N, 4) float64, see `InstanceMasks`
    windows: np.ndarray  # (N, 4) float64 XYXY, what of `image` may show the object
    # Of the whole image, so that detections find back to the original.
    placement: tuple[float, float, float, float] = UNMOVED
    # XYXY, what of `image` shows the original: not the grey that fills what was cut off. None: all.
    window: tuple[float, float, float, float] | None = None

    @classmethod
    def from_objects(cls, image: np.ndarray, items: Sequence[Object]) -> "Sample":
        """The decoded image with some of the objects annotated on it."""
        height, width = image.shape[:2]
        return cls(
            image,
            np.array([item.box for item in items], dtype=np.float64).reshape(-1, 4),
            tuple(items),
            np.tile(np.array(UNMOVED), (len(items), 1)),
            np.tile(np.array([0.0, 0.0, width, height]), (len(items), 1)),
            window=(0.0, 0.0, width, height),
        )

    def only(self, kept: np.ndarray) -> "Sample":
        """The sample with some of its objects, given as (N,) bool."""
        return self._replace(
            boxes=self.boxes[kept],
            items=tuple(item for item, keep in zip(self.items, kept, strict=True) if keep),
            placements=self.placements[kept],
            windows=self.windows[kept],
        )

    def masks(self) -> InstanceMasks:
        """The objects' masks, as a batch carries them."""
        masks = [item.mask for item in self.items]
        sizes = [self.image.shape[:2]] * len(masks)
        return pack_masks(masks, sizes, self.placements, self.windows)


class Transform(ABC):
    """One change of a sample. A subclass of yours can stand in the YAML under its import path.

    Whatever moves pixels does so with `move`, so that masks, proposals and detections find their
    place.

    Attributes:
        says_where: whether `Sample.placement` is right afterwards, so that proposals can follow.
    """

    says_where = True

    @abstractmethod
    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Return the changed sample; draw from `random` and from nothing else."""

    def at_step(self, step: int, seed: int) -> "Transform":
        """What to use for all images of an optimiser step: itself, unless the step matters.

        Args:
            step: counted from the start of training.
            seed: of the run.
        """
        return self


class MixingTransform(Transform):
    """A transform that makes one sample of several.

    Args:
        companions: how many further images it may ask for.
    """

    def __init__(self, companions: int) -> None:
        self.companions = companions

    @abstractmethod
    def mix(
        self,
        sample: Sample,
        companions: Sequence[Callable[[], Sample]],
        random: np.random.Generator,
    ) -> Sample:
        """Return the mixed sample; a companion is read only when it is called."""

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Refuse: there is nothing to mix with."""
        raise TypeError(f"{type(self).__name__} mixes images: use `apply`, which gives it some.")


def apply(
    transforms: Sequence[Transform],
    sample: Sample,
    seed: int,
    companions: Sequence[Companion] = (),
) -> Sample:
    """Apply transforms in turn, with random numbers that depend on `seed` only.

    Args:
        transforms: of which the mixing ones take as many companions as they want, in turn. A
            companion comes out of the transforms before the one that mixes it in, without those
            that mix.
        sample: the image that the others are mixed into.
        seed: of this image in this epoch.
        companions: how to read the further images.

    Raises:
        UserError: when there are fewer of them than the mixing transforms want.
    """
    wanted = companions_of(transforms)
    if len(companions) < wanted:
        mixing = [type(one).__name__ for one in transforms if isinstance(one, MixingTransform)]
        raise UserError(
            f"{' and '.join(mixing)} mix {wanted} further images into each image, and "
            f"{len(companions)} were given: they belong to the training transforms only."
        )
    random = np.random.default_rng(seed)
    left = iter(companions)
    for place, transform in enumerate(transforms):
        if not isinstance(transform, MixingTransform):
            sample = transform(sample, random)
            continue
        before = [one for one in transforms[:place] if not isinstance(one, MixingTransform)]
        seeds = random.integers(2**63, size=transform.companions).tolist()
        others = [_reading(next(left), before, of_one) for of_one in seeds]
        sample = transform.mix(sample, others, random)
    return sample


def _reading(
    companion: Companion, transforms: Sequence[Transform], seed: int
) -> Callable[[], Sample]:
    return lambda: companion(transforms, seed)


def companions_of(transforms: Sequence[Transform]) -> int:
    """How many further images a list of transforms may ask for."""
    return sum(one.companions for one in transforms if isinstance(one, MixingTransform))


def move(
    sample: Sample,
    image: np.ndarray,
    scale: tuple[float, float] = (1.0, 1.0),
    offset: tuple[float, float] = (0.0, 0.0),
) -> Sample:
    """Boxes and masks follow their pixels: x becomes x scale + offset, y likewise.

    Args:
        sample: before.
        image: after.
        scale: of x and of y; below 0 mirrors.
        offset: of x and of y, pixels of `image`.

    Returns:
        All objects, those outside of the new image too; windows are cut to it, boxes are not.
    """
    height, width = image.shape[:2]
    limits = [width, height, width, height]
    factors, steps = np.tile(np.array(scale), 2), np.tile(np.array(offset), 2)
    placements = sample.placements * factors
    placements[:, 2:] += np.array(offset)
    windows = np.concatenate([sample.windows, [_shown(sample)]])
    windows = _sorted(windows * factors + steps).clip(0, limits)
    boxes = _sorted(sample.boxes * factors + steps)
    scale_x, scale_y, offset_x, offset_y = sample.placement
    placement = (
        scale_x * scale[0],
        scale_y * scale[1],
        offset_x * scale[0] + offset[0],
        offset_y * scale[1] + offset[1],
    )
    shown = tuple(windows[-1].tolist())
    return Sample(image, boxes, sample.items, placements, windows[:-1], placement, shown)


def inside_canvas(sample: Sample) -> Sample:
    """Clip boxes to the image and remove those without area: what training can learn from."""
    height, width = sample.image.shape[:2]
    boxes = sample.boxes.clip(0, [width, height, width, height])
    clipped = sample._replace(boxes=boxes)
    return clipped.only(np.all(boxes[:, 2:] > boxes[:, :2], axis=1))


def follow(boxes: np.ndarray, sample: Sample) -> np.ndarray:
    """Boxes of the original image where they stand after the transforms, cut to what is visible.

    Args:
        boxes: (P, 4) XYXY, pixels of the original image.
        sample: the transformed image, in one piece: nothing was mixed in.

    Returns:
        (Q, 4) float32 XYXY in the same order; boxes without area are left out.
    """
    scale, offset = np.array(sample.placement).reshape(2, 2)
    moved = _sorted(boxes * np.tile(scale, 2) + np.tile(offset, 2))
    window = _shown(sample)
    cut = moved.clip(np.tile(window[:2], 2), np.tile(window[2:], 2)).astype(np.float32)
    return cut[(cut[:, 2:] > cut[:, :2]).all(axis=1)]


def _shown(sample: Sample) -> tuple[float, float, float, float]:
    """The part of the image that shows the original, XYXY."""
    height, width = sample.image.shape[:2]
    return (0.0, 0.0, width, height) if sample.window is None else sample.window


def _sorted(boxes: np.ndarray) -> np.ndarray:
    """XYXY with x1 <= x2 and y1 <= y2, whatever mirrored them."""
    corners = boxes.reshape(-1, 2, 2)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
