"""The classes of tars made by others: how their annotations call them, and which label that is."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap

WAYS = (
    "Give --classes a,b,c (number 0 is a) or --categories FILE (a COCO file, or its list of "
    "categories)."
)


@dataclass(frozen=True)
class Classes:
    """The label map, and the label of every number and name that annotations may use."""

    label_map: LabelMap
    labels: dict[int | str, int]

    @classmethod
    def from_names(cls, names: Sequence[str]) -> "Classes":
        """Classes that annotations call by name or by their place in `names`, from 0."""
        labels: dict[int | str, int] = {name: label for label, name in enumerate(names)}
        labels |= {label: label for label in range(len(names))}
        return cls(LabelMap(tuple(names)), labels)

    @classmethod
    def from_categories(cls, path: Path) -> "Classes":
        """Classes of a COCO file, which annotations call by id or name; labels are in order of ids.

        Raises:
            UserError: when there is no such list.
        """
        try:
            stored = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"--categories {path} cannot be read: {error}.") from error
        rows = stored.get("categories") if isinstance(stored, dict) else stored
        if not isinstance(rows, list) or not rows or not all(map(_is_category, rows)):
            raise UserError(
                f"--categories {path} is not a list of categories, each with a number as id and a "
                "name, nor a COCO file with such a list."
            )
        names = {row["id"]: row["name"] for row in rows}
        if len(names) < len(rows):
            raise UserError(f"--categories {path} uses an id twice. Give each class its own.")
        ids = sorted(names)
        label_map = LabelMap(tuple(names[number] for number in ids), tuple(ids))
        labels: dict[int | str, int] = {name: label for label, name in enumerate(label_map.names)}
        labels |= {number: label for label, number in enumerate(ids)}
        return cls(label_map, labels)

    @classmethod
    def from_annotations(cls, found: Iterable[int | str]) -> "Classes":
        """Classes that are called by name everywhere: the names found, sorted.

        Raises:
            UserError: when some are called by a number, which says nothing about their order.
        """
        found = set(found)
        numbers = sorted(one for one in found if isinstance(one, int))
        if numbers:
            shown = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
            raise UserError(f"The annotations call classes by the numbers {shown}. {WAYS}")
        return cls.from_names(sorted(one for one in found if isinstance(one, str)))


def _is_category(row: Any) -> bool:
    return isinstance(row, dict) and type(row.get("id")) is int and isinstance(row.get("name"), str)
