"""Shard sets against each other: their classes and their images."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lit_detseg.data.index import ShardIndex
from lit_detseg.data.verification.duplicates import Twins, equal_images, near_images
from lit_detseg.data.verification.facts import Facts
from lit_detseg.data.verification.findings import Finding, Kind

NAMES_SHOWN = 10


class CheckedSet(NamedTuple):
    """A set whose samples have been checked."""

    shards: str  # as the user names it
    stored: ShardIndex
    facts: Facts
    prints: np.ndarray  # fingerprints of the images that can be read


def compare_sets(sets: Sequence[CheckedSet]) -> Iterator[Finding]:
    """What is wrong between sets, and between the images of each."""
    for number, one in enumerate(sets):
        for other in sets[:number]:
            yield from _compare_classes(other, one)
    for one in sets:
        yield from _classes_without_objects(one, [other for other in sets if other is not one])
    yield from _twins(sets)


def _compare_classes(first: CheckedSet, second: CheckedSet) -> Iterator[Finding]:
    if gap := first.stored.label_map.difference(second.stored.label_map):
        detail = f"its classes are not those of {first.shards}: {gap}"
        yield Finding(Kind.DIFFERENT_CLASSES, detail, second.shards)


def _classes_without_objects(one: CheckedSet, others: list[CheckedSet]) -> Iterator[Finding]:
    """Classes that occur elsewhere but not here."""
    here = _names_with_objects(one)
    missing = [
        name
        for name in one.stored.label_map.names
        if name not in here and any(name in _names_with_objects(other) for other in others)
    ]
    if missing:
        detail = f"no object of {len(missing)} classes that other sets have: {_first(missing)}"
        yield Finding(Kind.CLASSES_WITHOUT_OBJECTS, detail, one.shards)


def _names_with_objects(one: CheckedSet) -> set[str]:
    """Classes that stand on an image: as objects, or as pixels."""
    names = one.stored.label_map.names
    counts = one.facts.objects + one.facts.pixels
    return {names[label] for label, count in counts.items() if count}


def _twins(sets: Sequence[CheckedSet]) -> Iterator[Finding]:
    """Images that stand twice, in one set or in two."""
    prints = np.concatenate([one.prints for one in sets])
    set_of = np.repeat(np.arange(len(sets)), [len(one.prints) for one in sets])
    # The earlier copies stand for the later ones of their set, in the search for near duplicates.
    copies = []
    for twins in equal_images(prints, set_of):
        if set_of[twins.first] == set_of[twins.second]:
            copies.append(twins.second)
        yield _finding(sets, prints, set_of, twins, Kind.DUPLICATE_IMAGE, Kind.IMAGE_IN_TWO_SETS)
    keep = np.delete(np.arange(len(prints)), copies)
    near = Kind.NEAR_DUPLICATE_IMAGE, Kind.NEAR_DUPLICATE_IN_TWO_SETS
    for twins in near_images(prints[keep], set_of[keep]):
        placed = twins._replace(first=int(keep[twins.first]), second=int(keep[twins.second]))
        yield _finding(sets, prints, set_of, placed, *near)


def _finding(
    sets: Sequence[CheckedSet],
    prints: np.ndarray,
    set_of: np.ndarray,
    twins: Twins,
    kind_in_one: Kind,
    kind_in_two: Kind,
) -> Finding:
    """A finding at the later of two images, which names the other."""
    first_set, second_set = (sets[set_of[place]] for place in (twins.first, twins.second))
    first_key, second_key = (
        one.stored.keys[prints["sample"][place]]
        for one, place in ((first_set, twins.first), (second_set, twins.second))
    )
    index = second_set.stored
    file = index.shards[index.shard_of[prints["sample"][twins.second]]].name
    kind = kind_in_one if first_set is second_set else kind_in_two
    other = first_key if first_set is second_set else f"{first_key} of {first_set.shards}"
    return Finding(kind, f"{twins.how} as {other}", second_set.shards, file, second_key)


def _first(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
