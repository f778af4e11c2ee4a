"""What a shard set holds: counts and sizes that are right or wrong only for those who know it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lit_detseg.data.records import Object
from lit_detseg.structures import LabelMap

SMALL, LARGE = 32**2, 96**2  # pixels of area: COCO's bounds of small, medium and large objects
SIZES_SHOWN = 10  # the most frequent image sizes


@dataclass
class Facts:
    """Counts over some samples; those of parts add up to those of the whole."""

    images: int = 0  # decoded
    unreadable: int = 0
    not_checked: int = 0  # their file is missing
    without_annotation: int = 0  # in tars made by others
    empty: int = 0  # annotated: nothing is there
    objects: Counter[int] = field(default_factory=Counter)  # by label
    images_with: Counter[int] = field(default_factory=Counter)  # by label
    pixels: Counter[int] = field(default_factory=Counter)  # by label
    object_sizes: Counter[str] = field(default_factory=Counter)  # small, medium, large
    # By k: objects whose area's square root is from 2^k to 2^(k+1) pixels; -1 is below 1.
    object_sides: Counter[int] = field(default_factory=Counter)
    objects_per_image: Counter[int] = field(default_factory=Counter)
    heights: Counter[int] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    image_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # height, width
    flags: Counter[str] = field(default_factory=Counter)  # crowd, difficult, truncated, masks

    def add(self, other: "Facts") -> None:
        """Count another part's samples too."""
        for one in fields(self):
            mine, more = getattr(self, one.name), getattr(other, one.name)
            if isinstance(mine, Counter):
                mine.update(more)
            else:
                setattr(self, one.name, mine + more)

    def count_image(self, height: int, width: int) -> None:
        """Count an image that can be read."""
        self.images += 1
        self.heights[height] += 1
        self.widths[width] += 1
        self.image_sizes[height, width] += 1

    def count_objects(self, objects: Sequence[Object]) -> None:
        """Count the objects of a sample, those that can be used."""
        self.empty += not objects
        self.objects_per_image[len(objects)] += 1
        self.objects.update(item.label for item in objects)
        self.images_with.update({item.label for item in objects})
        for item in objects:
            self.object_sizes[_size_name(item.area)] += 1
            self.object_sides[max(int(item.area**0.5), 0).bit_length() - 1] += 1
            self.flags.update(_flags(item))

    def to_json(self, labels: LabelMap) -> dict[str, Any]:
        """For people and programs, classes by name."""
        return {
            "images": self.images,
            "unreadable_images": self.unreadable,
            "images_not_checked": self.not_checked,
            "images_without_annotation": self.without_annotation,
            "empty_images": self.empty,
            "objects": self.objects.total(),
            "classes": {
                name: {"objects": self.objects[label], "images": self.images_with[label]}
                for label, name in enumerate(labels.names)
            },
            "pixels": {
                name: self.pixels[label] for label, name in enumerate(labels.names) if self.pixels
            },
            "object_sizes": {
                name: self.object_sizes[name] for name in ("small", "medium", "large")
            },
            "object_sides": {
                str(0 if power < 0 else 2**power): count
                for power, count in sorted(self.object_sides.items())
            },
            "objects_per_image": _spread(self.objects_per_image),
            "heights": _spread(self.heights),
            "widths": _spread(self.widths),
            "image_sizes": [
                {"height": height, "width": width, "images": count}
                for (height, width), count in self.image_sizes.most_common(SIZES_SHOWN)
            ],
            **{name: self.flags[name] for name in ("crowd", "difficult", "truncated")},
            "masks": {name: self.flags[name] for name in ("polygons", "rle")},
        }


def _flags(item: Object) -> list[str]:
    flags = {
        "crowd": item.is_crowd,
        "difficult": item.is_difficult,
        "truncated": item.is_truncated,
        "polygons": isinstance(item.mask, list),
        "rle": isinstance(item.mask, dict),
    }
    return [name for name, is_set in flags.items() if is_set]


def _size_name(area: float) -> str:
    if area < SMALL:
        return "small"
    return "medium" if area < LARGE else "large"


def _spread(counts: Mapping[int, int]) -> dict[str, float] | None:
    """Least, median, mean and largest of counted values; None without any.

    >>> _spread({1: 2, 4: 1, 9: 1})
    {'min': 1, 'median': 1, 'mean': 3.75, 'max': 9}
    """
    total = sum(counts.values())
    if not total:
        return None
    below, median = 0, 0
    for value in sorted(counts):
        below += counts[value]
        if 2 * below >= total:
            median = value
            break
    mean = sum(value * count for value, count in counts.items()) / total
    return {"min": min(counts), "median": median, "mean": mean, "max": max(counts)}
