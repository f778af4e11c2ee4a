"""Histograms of a whole set: classes, sizes of objects, objects per image, sizes of images."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lit_detseg.data.hashing import hashed
from lit_detseg.data.shards import ShardReader

RECORDS_READ = 20_000  # at most: a few seconds
_RECORDS = 103  # the stream of random numbers that draws them

# COCO's sizes of objects, by area in pixels: small below 32^2, large from 96^2.
SMALL, LARGE = 32**2, 96**2
SIZE_NAMES = ("small", "medium", "large")

# Bins from each number to the next; the last one is open.
SIDES = (0, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)  # sqrt(area), pixels
COUNTS = (*range(11), 15, 20, 30, 50, 100, 200)  # objects on an image
LONGER_SIDES = (0, 64, 128, 256, 384, 512, 640, 800, 1024, 1280, 1600, 2048, 3072, 4096, 8192)
ASPECT_RATIOS = (0, 0.25, 0.5, 0.6, 0.7, 0.8, 0.95, 1.05, 1.25, 1.4, 1.6, 2, 4)  # height / width


def size_name(area: float) -> str:
    """COCO's name for the size of an object."""
    return "small" if area < SMALL else "medium" if area < LARGE else "large"


def of_index(reader: ShardReader) -> dict[str, Any]:
    """What the index knows of every image."""
    counts, classes = reader.class_counts, len(reader.label_map)
    objects = np.bincount(counts.label, weights=counts.objects, minlength=classes)
    per_image = np.bincount(counts.sample, weights=counts.objects, minlength=len(reader))
    sides = np.sort(reader.sizes, axis=1)
    return {
        "objects_of_class": objects.astype(int).tolist(),
        "images_of_class": np.bincount(counts.label, minlength=classes).tolist(),
        "objects_per_image": histogram(per_image, COUNTS),
        "longer_sides": histogram(sides[:, 1], LONGER_SIDES),
        "aspect_ratios": histogram(reader.sizes[:, 0] / reader.sizes[:, 1], ASPECT_RATIOS),
        "images_without_objects": int((per_image == 0).sum()),
        "most_objects": int(per_image.max(initial=0)),
        "shorter_side_range": [int(sides[:, 0].min()), int(sides[:, 0].max())],
        "longer_side_range": [int(sides[:, 1].min()), int(sides[:, 1].max())],
    }


def of_records(
    reader: ShardReader, samples: np.ndarray, progress: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """What only the records know.

    Args:
        reader: of the set.
        samples: whose records to read.
        progress: called after each record.

    Raises:
        UserError: when a record cannot be read.
    """
    areas: list[float] = []
    kinds: Counter[str] = Counter()
    for sample in samples.tolist():
        for item in reader.record(sample).objects:
            areas.append(item.area)
            kinds["crowd"] += item.is_crowd
            kinds["difficult"] += item.is_difficult
            kinds["truncated"] += item.is_truncated
            kinds["polygons"] += isinstance(item.mask, list)
            kinds["run lengths"] += isinstance(item.mask, dict)
        progress()
    return {
        "records_read": len(samples),
        "objects_read": len(areas),
        "object_sides": histogram(np.sqrt(np.array(areas, dtype=np.float64)), SIDES),
        "sizes": {name: sum(size_name(a) == name for a in areas) for name in SIZE_NAMES},
        "kinds": {name: count for name, count in kinds.items() if count},
    }


def records_to_read(samples: np.ndarray) -> np.ndarray:
    """All of some images, or `RECORDS_READ` of them drawn by a hash, ascending."""
    if len(samples) <= RECORDS_READ:
        return samples
    return np.sort(samples[np.argsort(hashed(samples, _RECORDS), kind="stable")[:RECORDS_READ]])


def histogram(values: np.ndarray, edges: Sequence[float]) -> list[dict[str, Any]]:
    """Counts per bin, without the empty bins at both ends.

    Args:
        values: any number of them, none below the first edge.
        edges: where bins start, ascending; the last bin is open.

    Returns:
        For each bin where it starts, where it ends (None: nowhere) and how many values are in it.
    """
    counts = np.histogram(values, [*edges, np.inf])[0]
    filled = np.flatnonzero(counts)
    if not len(filled):
        return []
    ends = [*edges[1:], None]
    return [
        {"from": edges[bin_], "to": ends[bin_], "count": int(counts[bin_])}
        for bin_ in range(filled[0], filled[-1] + 1)
    ]
