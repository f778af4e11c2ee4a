"""Shard sets with proposals beside them."""

import numpy as np

from lit_detseg.data.proposals.writer import write_proposals
from lit_detseg.data.shards import ShardReader
from tests.data.shard_sets import write_numbered


def numbered_boxes(number, count):
    """`count` boxes of an 8 x 8 image, different for each number below 100, the widest first."""
    rows = [[number / 100, 0, 7 - place / 100, 8] for place in range(count)]
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def write_numbered_proposals(folder, counts, name="numbered", prefix="", first=0):
    """A set of numbered images with so many boxes on each; its folder."""
    write_numbered(folder, images=len(counts), prefix=prefix)
    boxes = [numbered_boxes(first + n, count) for n, count in enumerate(counts)]
    write_proposals(folder, name, boxes, "by_number", {"counts": list(counts)})
    return folder


def contents(folder, without=("cost.json", "recall.png")):
    """The bytes of all files, but for those that say how long something took."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in without
    }


def reader_of(*folders):
    return ShardReader([str(folder) for folder in folders])
