"""What a raw data set has to offer to be packed."""

from typing import Any, Protocol

from lit_detseg.data.packing.checks import Fault
from lit_detseg.data.records import RawSample
from lit_detseg.structures import LabelMap


class Reader(Protocol):
    """A raw data set whose images can be read in any order, by several processes at once.

    Image `rank` is the one with the `rank`-th key of the sorted keys, which are all different. What
    a reader opens before it is packed is inherited by forked processes: it reads files by position
    (`os.pread`), never through a shared file pointer.

    A reader may also have `keys`, the sequence of all keys. Parts of a data set that were packed by
    several machines are then joined only if every machine saw the same keys.
    """

    title: str  # what and where, for messages
    source: dict[str, Any]  # what and how, for the index; no paths, which differ between machines
    label_map: LabelMap
    faults: tuple[Fault, ...]  # rows that belong to no image

    def __len__(self) -> int:
        """Images."""

    def read(self, rank: int) -> tuple[RawSample, list[Fault]]:
        """The image of a rank, with the faults of its rows that no `RawSample` can hold."""
