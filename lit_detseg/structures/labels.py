"""The label map: which number stands for which class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lit_detseg.errors import UserError


@dataclass(frozen=True)
class LabelMap:
    """Names of the classes; label `i` (0-based, without background) is `names[i]`.

    Args:
        names: one name per class, all different.
        source_ids: the raw data set's own number of each class, where it has one (COCO's category
            ids, 1..90 with holes). Needed to write results that the data set's server accepts.

    Raises:
        UserError: when a name stands twice or the two lengths differ.
    """

    names: tuple[str, ...]
    source_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise UserError(f"The label map names {', '.join(twice)} twice. Rename or merge them.")
        if self.source_ids is not None and len(self.source_ids) != len(self.names):
            raise UserError(
                f"The label map has {len(self.names)} names but {len(self.source_ids)} source ids."
            )

    def __len__(self) -> int:
        return len(self.names)

    def to_json(self) -> dict[str, Any]:
        """The form stored in shard indexes, run directories and checkpoints."""
        ids = None if self.source_ids is None else list(self.source_ids)
        return {"names": list(self.names), "source_ids": ids}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "LabelMap":
        """Undo `to_json`."""
        ids = stored.get("source_ids")
        return cls(tuple(stored["names"]), None if ids is None else tuple(ids))

    def difference(self, other: "LabelMap") -> str | None:
        """What distinguishes the names of two maps in words, or None when they agree.

        >>> LabelMap(("cat", "dog")).difference(LabelMap(("cat", "cow")))
        'label 1 is "dog" in one and "cow" in the other'
        """
        if self.names == other.names:
            return None
        if len(self) != len(other):
            only = sorted(set(self.names) ^ set(other.names))
            return f"{len(self)} classes against {len(other)}; only in one: {', '.join(only)}"
        rows = enumerate(zip(self.names, other.names, strict=True))
        return "; ".join(
            f'label {label} is "{mine}" in one and "{theirs}" in the other'
            for label, (mine, theirs) in rows
            if mine != theirs
        )
