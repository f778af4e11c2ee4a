"""Images that stand twice: in one set, or in two, where one is trained on and one evaluated.

Equal images are found exactly. Near duplicates are looked for by four bands of 16 bits: patterns
that differ in at most 3 of 64 bits agree in a whole band. Within a band each image is compared with
its `NEIGHBOURS` next ones in the order of their patterns, so the work grows with the number of
images alone, and near duplicates can be missed only among more images than that of one band.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BANDS, BAND_BITS = 4, 16
MOST_DIFFERENT_BITS = 3  # one less than the bands: one of them is then equal
NEIGHBOURS = 128
MOST_DIFFERENT_LOOK = 4.0  # grey levels of 255, mean over the 9 x 8 pixels
LEAST_CONTRAST = 8.0  # grey levels, standard deviation: flat images all look alike


class Twins(NamedTuple):
    """Two images that are the same, or nearly."""

    first: int  # positions in the fingerprints given
    second: int
    how: str  # for messages


def equal_images(prints: np.ndarray, sets: np.ndarray) -> Iterator[Twins]:
    """Every image whose pixels an earlier one has.

    An image is paired with the first equal one of its own set; the first of a set with the first
    one of each earlier set.

    Args:
        prints: (S,) fingerprints.
        sets: (S,) int64, the set of each image, ascending.
    """
    seen: dict[bytes, dict[int, int]] = {}  # by pixels: the first image of each set
    for place, (pixels, of_set) in enumerate(zip(prints["pixels"], sets.tolist(), strict=True)):
        firsts = seen.setdefault(pixels.tobytes(), {})
        if of_set in firsts:
            yield _equal(prints, firsts[of_set], place)
            continue
        for earlier in firsts.values():
            yield _equal(prints, earlier, place)
        firsts[of_set] = place


def near_images(prints: np.ndarray, sets: np.ndarray) -> list[Twins]:
    """Every image that looks like an earlier one of a set, with one such; equal ones apart.

    Args:
        prints: (S,) fingerprints.
        sets: (S,) int64, the set of each image, ascending.
    """
    candidates = np.flatnonzero(prints["look"].astype(np.float32).std(axis=1) >= LEAST_CONTRAST)
    # Whether an image is paired with one of a set: of a million alike, each is found once.
    paired = np.zeros((len(prints), sets.max(initial=0) + 1), bool)
    found: list[Twins] = []
    for one, other in _neighbours(prints["pattern"], candidates):
        first, second = np.minimum(one, other), np.maximum(one, other)
        is_new = ~paired[second, sets[first]]
        first, second = first[is_new], second[is_new]
        alike = _look_difference(prints, first, second) <= MOST_DIFFERENT_LOOK
        equal = (prints["pixels"][first] == prints["pixels"][second]).all(axis=1)
        for one_first, one_second in np.stack([first, second], axis=1)[alike & ~equal].tolist():
            if not paired[one_second, sets[one_first]]:
                paired[one_second, sets[one_first]] = True
                how = _nearness(prints, one_first, one_second)
                found.append(Twins(one_first, one_second, how))
    return sorted(found, key=lambda twins: (twins.second, twins.first))


def _neighbours(
    patterns: np.ndarray, candidates: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of candidates whose patterns differ in few bits, some at a time; some come twice."""
    for band in range(BANDS):
        # The band to the top, so that sorting groups by it and then by the rest.
        turn = np.uint64(band * BAND_BITS)
        turned = patterns[candidates]
        if band:
            turned = (turned << turn) | (turned >> (np.uint64(64) - turn))
        order = np.argsort(turned, kind="stable")
        turned, places = turned[order], candidates[order]
        bands = turned >> np.uint64(64 - BAND_BITS)
        for step in range(1, min(NEIGHBOURS, len(places) - 1) + 1):
            same_band = bands[:-step] == bands[step:]
            if not same_band.any():
                break
            bits = np.bitwise_count(turned[:-step] ^ turned[step:])
            here = np.flatnonzero(same_band & (bits <= MOST_DIFFERENT_BITS))
            yield places[here], places[here + step]


def _look_difference(prints: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean difference of grey values, (P,) float32."""
    looks = prints["look"]
    return np.abs(looks[one].astype(np.float32) - looks[other]).mean(axis=1)


def _equal(prints: np.ndarray, first: int, second: int) -> Twins:
    same_file = (prints["file"][first] == prints["file"][second]).all()
    return Twins(first, second, "the same file" if same_file else "the same pixels")


def _nearness(prints: np.ndarray, first: int, second: int) -> str:
    bits = int(np.bitwise_count(prints["pattern"][first] ^ prints["pattern"][second]))
    levels = float(_look_difference(prints, np.array([first]), np.array([second]))[0])
    return f"nearly the same: {bits} of 64 bits and {levels:.1f} grey levels differ"
