"""Draw the anchors or proposals that a training step looks at, positives to negatives.

Sources: Faster R-CNN (arXiv:1506.01497, section 3.1.2), Fast R-CNN (arXiv:1504.08083,
section 2.3).

The draw is arithmetic, not a generator: each candidate gets a number hashed from (seed, purpose,
key), and the smallest win. So it depends on nothing but the image's seed: not on the number of
ranks, not on the device, not on what was drawn before; a resumed run draws what an uninterrupted
one would have.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lit_detseg.assignment.matching import BACKGROUND, IGNORE

# SplitMix64 (Steele, Lea, Flood 2014): the step of its counter and the factors of its mixer.
_STEP, _FACTOR_1, _FACTOR_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

# What a draw is for: two draws of one image must not be alike.
ANCHORS, ROIS, SCALES, NORMS = 0, 1, 2, 3


class Samples(NamedTuple):
    """What was drawn from the candidates of one image.

    The number of rows is fixed by the settings, not by the image: no GPU waits to learn it. Rows
    that found no candidate are not `valid`, and point anywhere.
    """

    places: Int[Tensor, " rows"]  # of the drawn boxes among the candidates
    valid: Bool[Tensor, " rows"]


def sample(
    labels: Int[Tensor, " boxes"],
    num_samples: int,
    positive_fraction: float,
    seed: Int[Tensor, ""],
    purpose: int,
    keys: Int[Tensor, " boxes"] | None = None,
) -> Samples:
    """Draw up to `num_samples` boxes, without replacement.

    Positives are at most `positive_fraction` of `num_samples`; negatives fill what positives
    leave free. If there are too few negatives as well, the sample is smaller.

    Args:
        labels: above 0 positive, 0 negative, below 0 never drawn.
        num_samples: 256 anchors or 128 RoIs in the papers.
        positive_fraction: one half of the anchors, a quarter of the RoIs.
        seed: of this image at this step.
        purpose: `ANCHORS` or `ROIS`.
        keys: what stands for a box in the draw; its place in the list by default.
    """
    if keys is None:
        keys = torch.arange(len(labels), device=labels.device)
    priority = draw_priorities(seed, purpose, keys)
    positive = _smallest(priority, labels > BACKGROUND, round(num_samples * positive_fraction))
    negative = _smallest(priority, labels == BACKGROUND, num_samples)
    place = torch.arange(len(negative.places), device=labels.device)
    room = num_samples - positive.valid.sum()
    return Samples(
        torch.cat([positive.places, negative.places]),
        torch.cat([positive.valid, negative.valid & (place < room)]),
    )


def sampled_labels(labels: Int[Tensor, " boxes"], samples: Samples) -> Int[Tensor, " rows"]:
    """The labels of what was drawn; `IGNORE` in rows that found no candidate."""
    return labels[samples.places].masked_fill(~samples.valid, IGNORE)


def draw_priorities(
    seed: Int[Tensor, ""], purpose: int, keys: Int[Tensor, " boxes"]
) -> Int[Tensor, " boxes"]:
    """A pseudo-random int64 per key: all different, the same on every device.

    SplitMix64 twice: once to turn (seed, purpose) into a state, once from that state to the
    number at place `key`.
    """
    state = _mix(seed + _signed(_STEP * (purpose + 1)))
    return _mix(state + (keys + 1) * _signed(_STEP))


def _mix(number: Int[Tensor, "*any"]) -> Int[Tensor, "*any"]:
    """SplitMix64's mixer: a bijection of 64-bit numbers; int64 products wrap around."""
    number = (number ^ _shift_right(number, 30)) * _signed(_FACTOR_1)
    number = (number ^ _shift_right(number, 27)) * _signed(_FACTOR_2)
    return number ^ _shift_right(number, 31)


def _shift_right(number: Int[Tensor, "*any"], bits: int) -> Int[Tensor, "*any"]:
    """Shift as if unsigned: torch's >> would copy the sign bit."""
    return (number >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """The int64 with the same 64 bits as an unsigned number."""
    number %= 1 << 64
    return number - (1 << 64) if number >= 1 << 63 else number


def _smallest(
    priority: Int[Tensor, " boxes"], wanted: Bool[Tensor, " boxes"], limit: int
) -> Samples:
    """The `limit` wanted boxes of smallest priority, in that order."""
    last = torch.iinfo(torch.int64).max
    ranked = priority.masked_fill(~wanted, last)
    places = ranked.topk(min(limit, len(priority)), largest=False).indices
    return Samples(places, wanted[places])
