"""Detections and ground truth of many images as flat arrays, and the pairs that may match.

Names:
    group: one class in one image; only a detection and an object of the same group may match.
    shape: a box XYWH in pixels, or a mask as a compressed RLE dictionary.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np


class Found(NamedTuple):
    """Detections of some images, one row each."""

    image: np.ndarray  # (D,) int64; among equal scores the smaller image number comes first
    label: np.ndarray  # (D,) int64
    score: np.ndarray  # (D,) float64
    shape: np.ndarray  # (D, 4) float64 XYWH, or (D,) object RLE
    area: np.ndarray  # (D,) float64, pixels


class Truth(NamedTuple):
    """Annotated objects of some images, one row each."""

    image: np.ndarray  # (N,) int64
    label: np.ndarray  # (N,) int64
    shape: np.ndarray  # (N, 4) float64 XYWH, or (N,) object RLE
    area: np.ndarray  # (N,) float64, pixels, as annotated
    is_crowd: np.ndarray  # (N,) bool
    is_difficult: np.ndarray  # (N,) bool


class Matches(NamedTuple):
    """What became of the detections, one row each.

    A metric judges every detection under S settings (for COCO 10 IoU thresholds x 4 ranges of
    area) and stores the S answers as bits.
    """

    image: np.ndarray  # (D,) int32
    label: np.ndarray  # (D,) int32
    score: np.ndarray  # (D,) float64
    rank: np.ndarray  # (D,) int32, place within its group, best score first
    is_match: np.ndarray  # (D, ceil(S / 8)) uint8, packed bits
    is_ignored: np.ndarray  # (D, ceil(S / 8)) uint8, packed bits: neither right nor wrong


class Sought(NamedTuple):
    """The annotated objects, and in which settings they have to be found; one row each."""

    image: np.ndarray  # (N,) int32
    label: np.ndarray  # (N,) int32
    counts: np.ndarray  # (N, A) bool, per range of area


# The IoU, (P,) float64, of pairs: detections and objects, and the row numbers (P,) of either.
# The pairs of one detection follow each other.
IouOfPairs = Callable[[Found, Truth, np.ndarray, np.ndarray], np.ndarray]

Rows = TypeVar("Rows", Found, Truth, Matches, Sought)

NOTHING_FOUND = Found(
    image=np.zeros(0, np.int64),
    label=np.zeros(0, np.int64),
    score=np.zeros(0),
    shape=np.zeros((0, 4)),
    area=np.zeros(0),
)
NOTHING_TRUE = Truth(
    image=np.zeros(0, np.int64),
    label=np.zeros(0, np.int64),
    shape=np.zeros((0, 4)),
    area=np.zeros(0),
    is_crowd=np.zeros(0, bool),
    is_difficult=np.zeros(0, bool),
)

# Images matched together: enough of them to hide numpy's overhead, few enough pairs to hold
# (about 150 bytes per pair while they are compared).
CHUNK_IMAGES = 128
CHUNK_PAIRS = 2**20


def take(rows: Rows, index: np.ndarray | slice) -> Rows:
    """Some rows of a table."""
    return type(rows)(*(column[index] for column in rows))


def concatenate(tables: Sequence[Rows]) -> Rows:
    """The rows of several tables (at least one), one table after the other."""
    columns = zip(*tables, strict=True)
    return type(tables[0])(*(np.concatenate(parts) for parts in columns))


def judge_in_chunks(
    judge: Callable[[Found, Truth], tuple[Matches, Sought]],
    found: Found,
    truth: Truth,
    num_images: int,
) -> tuple[Matches, Sought]:
    """Apply `judge` to a bounded number of images at a time.

    Args:
        judge: what a metric does with some images; images do not influence each other.
        found: detections of images 0 .. num_images - 1, in any order.
        truth: their objects, in any order.
        num_images: at least 0.
    """
    found = take(found, np.argsort(found.image, kind="stable"))
    truth = take(truth, np.argsort(truth.image, kind="stable"))
    detections, objects = (np.bincount(t.image, minlength=num_images) for t in (found, truth))
    chunk = np.cumsum(share_of_chunk(detections, objects)).astype(np.int64)
    parts = [judge(take(found, slice(0)), take(truth, slice(0)))]  # there may be no image
    for images in runs(chunk):
        of_detections, of_objects = (
            slice(*np.searchsorted(table.image, [images.start, images.stop]))
            for table in (found, truth)
        )
        parts.append(judge(take(found, of_detections), take(truth, of_objects)))
    matches, sought = zip(*parts, strict=True)
    return concatenate(matches), concatenate(sought)


def share_of_chunk(detections: int | np.ndarray, objects: int | np.ndarray) -> float | np.ndarray:
    """How much of a chunk an image with so many detections and objects fills."""
    return 1 / CHUNK_IMAGES + detections * objects / CHUNK_PAIRS


def best_first(found: Found) -> tuple[Found, np.ndarray]:
    """Sort detections by image, class and falling score; equal scores keep their order.

    Returns:
        The sorted detections, and (D,) the place of each within its group, from 0.
    """
    found = take(found, np.lexsort((-found.score, found.label, found.image)))
    starts_group = np.ones(len(found.image), dtype=bool)
    starts_group[1:] = (np.diff(found.image) != 0) | (np.diff(found.label) != 0)
    first = np.flatnonzero(starts_group)
    lengths = np.diff(np.append(first, len(found.image)))
    return found, np.arange(len(found.image)) - np.repeat(first, lengths)


def runs(numbers: np.ndarray) -> list[slice]:
    """Where equal neighbours stand among numbers >= 0.

    >>> runs(np.array([3, 3, 7]))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    ends = [*starts, len(numbers)][1:]
    return [slice(*bounds) for bounds in zip(starts, ends, strict=True)]


def pairs_of_groups(found: Found, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of every (detection, object) of one group: (P,) and (P,).

    Sorted by detection, then by object.
    """
    num_labels = 1 + max(found.label.max(initial=0), truth.label.max(initial=0))
    group_of_detection = found.image * num_labels + found.label
    group_of_object = truth.image * num_labels + truth.label
    order = np.argsort(group_of_object, kind="stable")
    grouped = group_of_object[order]
    first = np.searchsorted(grouped, group_of_detection, side="left")
    count = np.searchsorted(grouped, group_of_detection, side="right") - first
    detection = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    return detection, order[np.repeat(first, count) + place]


def box_iou(found: Found, truth: Truth, detection: np.ndarray, target: np.ndarray) -> np.ndarray:
    """IoU of pairs of boxes; for a crowd, the share of the detection that lies in it.

    Operation for operation that of pycocotools' `bbIou`, so that a value at a threshold falls on
    the same side.
    """
    box, other = found.shape[detection], truth.shape[target]
    overlap = np.minimum(box[:, 2:] + box[:, :2], other[:, 2:] + other[:, :2])
    overlap -= np.maximum(box[:, :2], other[:, :2])  # (P, 2) width and height
    intersection = overlap[:, 0] * overlap[:, 1]
    area, other_area = box[:, 2] * box[:, 3], other[:, 2] * other[:, 3]
    union = np.where(truth.is_crowd[target], area, area + other_area - intersection)
    touches = (overlap > 0).all(axis=1)
    return np.divide(intersection, union, out=np.zeros(len(box)), where=touches)


def mask_iou(found: Found, truth: Truth, detection: np.ndarray, target: np.ndarray) -> np.ndarray:
    """IoU of pairs of masks; for a crowd, the share of the detection that lies in it."""
    from pycocotools import mask

    is_crowd = truth.is_crowd.astype(np.uint8)
    result = np.zeros(len(detection))
    for run in runs(detection):
        objects = target[run]
        one = [found.shape[detection[run.start]]]
        result[run] = mask.iou(one, list(truth.shape[objects]), is_crowd[objects])[0]
    return result
