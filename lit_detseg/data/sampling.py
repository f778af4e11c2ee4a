"""How often training shows each image: as often as all others, or oftener where classes are rare.

A sampling says how many copies of each image an epoch is to list, on average, from what the index
knows. Which epoch lists 2 and which 3 copies of an image of 2.3, and where they stand, is the
order's business, so that ranks, workers and restarts change nothing here either.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from lit_detseg.data.order import NO_SAMPLING, TrainingOrder
from lit_detseg.data.shards import ClassCounts, ShardReader
from lit_detseg.structures import UserError


class Sampling(ABC):
    """A rule for the copies of each image. One of yours can stand in the YAML by its import path.

    Its name and settings, `RepeatFactor(threshold=0.001)`, are stored in checkpoints: keep the
    settings as plain attributes of the constructor's names.
    """

    @abstractmethod
    def frequencies(
        self, class_counts: ClassCounts, num_images: int, num_classes: int
    ) -> np.ndarray:
        """The copies that an epoch is to list of each image.

        Args:
            class_counts: which classes stand on each image, and how often.
            num_images: in the set, those without objects included.
            num_classes: entries of the label map.

        Returns:
            (num_images,) float64, at least 0.
        """

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in sorted(vars(self).items()))
        return f"{type(self).__name__}({settings})"


class RepeatFactor(Sampling):
    """Repeat images of rare classes (LVIS, arXiv:1908.03195, repeat factor sampling).

    With f(c) the share of images that show class c, a class asks for max(1, sqrt(threshold / f(c)))
    copies and an image gets what its neediest class asks for. Images without objects get 1.

    Args:
        threshold: classes on a smaller share of the images are repeated; 0.001 for LVIS.

    Raises:
        UserError: when the threshold is no share.
    """

    def __init__(self, threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise UserError(
                f"threshold = {threshold} must be above 0 and at most 1: it is a share of the "
                "images, 0.001 in the LVIS paper."
            )
        self.threshold = threshold

    def frequencies(
        self, class_counts: ClassCounts, num_images: int, num_classes: int
    ) -> np.ndarray:
        """At least 1 everywhere; for the rest see `Sampling`."""
        shown = np.bincount(class_counts.label, minlength=num_classes)
        # A class that no image shows asks no image for anything: any number but 0 will do.
        wanted = np.sqrt(self.threshold / (np.maximum(shown, 1) / num_images))
        copies = np.ones(num_images)
        np.maximum.at(copies, class_counts.sample, wanted[class_counts.label])
        return copies


class ClassBalanced(Sampling):
    """Ask for every class equally often (class-aware sampling, arXiv:1512.05830).

    The paper draws a class, then one of the images that show it. The expected number of such draws
    of an image, in as many draws as images with objects, M, is M / C x the sum over its classes c
    of 1 / M(c), with M(c) the images that show c and C the classes that any image shows. So an
    epoch stays as long as without sampling, and images of frequent classes are not in all of them.
    Images without objects get 1.

    An image is drawn for one of its classes and shows the others too: classes that share their
    images with a rare class are seen oftener than asked for.
    """

    def frequencies(
        self, class_counts: ClassCounts, num_images: int, num_classes: int
    ) -> np.ndarray:
        """Below 1 for images of frequent classes only; for the rest see `Sampling`."""
        shown = np.bincount(class_counts.label, minlength=num_classes)
        share = 1 / shown[class_counts.label]
        copies = np.bincount(class_counts.sample, weights=share, minlength=num_images)
        has_objects = copies > 0
        draws_of_a_class = has_objects.sum() / max((shown > 0).sum(), 1)
        return np.where(has_objects, draws_of_a_class * copies, 1.0)


def orientations(sizes: np.ndarray) -> np.ndarray:
    """The group of each image: 1 if it is wider than high, else 0, as in detectron2.

    Args:
        sizes: (N, 2) height and width.

    Returns:
        (N,) int64.
    """
    return (sizes[:, 1] > sizes[:, 0]).astype(np.int64)


def training_order(
    reader: ShardReader,
    batch: int,
    sampling: Sampling | None = None,
    group_by_aspect_ratio: bool = False,
    **options: Any,
) -> TrainingOrder:
    """The order of training on some shards.

    Args:
        reader: of the training shards.
        batch: images per step over all ranks.
        sampling: how often each image is shown; not given: once an epoch.
        group_by_aspect_ratio: show images of one orientation only in each optimiser step.
        options: further arguments of `TrainingOrder`.

    Raises:
        UserError: as `TrainingOrder` does.
    """
    copies, name = None, NO_SAMPLING
    if sampling is not None:
        copies = sampling.frequencies(reader.class_counts, len(reader), len(reader.label_map))
        name = repr(sampling)
    groups = orientations(reader.sizes) if group_by_aspect_ratio else None
    return TrainingOrder(
        reader.shard_lengths, batch, copies=copies, sampling=name, groups=groups, **options
    )
