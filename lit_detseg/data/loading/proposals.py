"""Proposals on their way into a batch: moved with their image, then end to end in one tensor."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_detseg.data.loading.sample_checks import check_followed
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.transforms.base import Sample, follow


class PackedProposals(NamedTuple):
    """The proposals of B images, the most promising of each first."""

    boxes: Tensor  # (R, 4) float32 XYXY, pixels of the resized images
    counts: np.ndarray  # (B,) int64, boxes of each image; they sum to R. On the CPU


def pack_proposals(
    proposals: ProposalReader, numbers: Sequence[int], samples: Sequence[Sample]
) -> PackedProposals:
    """Read the proposals of some images and move them to where the images are now.

    Args:
        proposals: of all images.
        numbers: of the images.
        samples: the same images after their transforms.

    Raises:
        UserError: when they cannot be read, or a transform has taken an image apart.
    """
    moved = [np.zeros((0, 4), np.float32)]
    for number, sample in zip(numbers, samples, strict=True):
        check_followed(sample, str(proposals.keys[number]))
        moved.append(follow(proposals.boxes(number), sample))
    counts = np.array([len(boxes) for boxes in moved[1:]], dtype=np.int64)
    return PackedProposals(torch.from_numpy(np.concatenate(moved)), counts)


def split_proposals(packed: PackedProposals | None) -> list[Tensor] | None:
    """One tensor (P, 4) for each image, views of the packed one; None where there are none."""
    return None if packed is None else list(packed.boxes.split(packed.counts.tolist()))
