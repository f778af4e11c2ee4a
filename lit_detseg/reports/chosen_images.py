"""Which images of a set a page shows: some of all, or those that were asked for."""

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from lit_detseg.data.hashing import hashed
from lit_detseg.data.shards import ShardReader
from lit_detseg.structures import UserError

_SHOWN, _SHARDS = 101, 102  # streams of random numbers; those of training are other ones
REMOTE_SHARDS = 4  # of which images are drawn: a remote shard is fetched whole
KEYS_COMPARED = 20_000  # to find one that is nearly the same takes a second per 100 000


def spread_over(reader: ShardReader, count: int, seed: int = 0) -> np.ndarray:
    """Images drawn by a hash of their number, so that each class is shown where possible.

    The rarest class comes first: if no image chosen so far shows it, the first that does by hash
    is taken. Whatever room is left goes to the first images by hash.

    Args:
        reader: of the set.
        count: how many to choose.
        seed: another one gives other images.

    Returns:
        (count,) int64, ascending; fewer when fewer are at hand.
    """
    near = at_hand(reader, seed)
    by_hash = np.argsort(hashed(np.arange(len(reader)), seed, _SHOWN), kind="stable")
    rank = np.empty_like(by_hash)
    rank[by_hash] = np.arange(len(by_hash))
    counts = reader.class_counts
    shown = near[counts.sample]
    images_of = [
        counts.sample[shown & (counts.label == label)] for label in range(len(reader.label_map))
    ]
    chosen: set[int] = set()
    for images in sorted(images_of, key=len):
        if len(images) and len(chosen) < count and not chosen.intersection(images.tolist()):
            chosen.add(int(images[np.argmin(rank[images])]))
    for sample in by_hash[near[by_hash]].tolist():
        if len(chosen) >= count:
            break
        chosen.add(sample)
    return np.array(sorted(chosen), dtype=np.int64)


def at_hand(reader: ShardReader, seed: int = 0) -> np.ndarray:
    """Which images to draw from: all, but of remote shards only those of a few, drawn by a hash.

    Returns:
        (S,) bool.
    """
    remote = np.array([shard.is_remote for shard in reader.shards], dtype=np.bool_)
    by_hash = np.argsort(hashed(np.arange(len(remote)), seed, _SHARDS), kind="stable")
    fetched = by_hash[remote[by_hash]][:REMOTE_SHARDS]
    drawn_from = ~remote
    drawn_from[fetched] = True
    return drawn_from[reader.shard_of]


def named(reader: ShardReader, words: Sequence[str]) -> np.ndarray:
    """The images of given keys, in stored order.

    Args:
        reader: of the set.
        words: each is a key, or several with commas between them.

    Raises:
        UserError: when the set holds no such key.
    """
    number_of = {key: number for number, key in enumerate(reader.keys.tolist())}
    keys = [key for word in words for key in ([word] if word in number_of else word.split(","))]
    for key in keys:
        if key not in number_of:
            some = list(number_of)[:KEYS_COMPARED]
            near = get_close_matches(key, some, n=1) or some[:1]
            raise UserError(
                f"The set holds no image with the key {key!r}. The nearest is {near[0]!r}."
            )
    return np.array(sorted({number_of[key] for key in keys}), dtype=np.int64)
