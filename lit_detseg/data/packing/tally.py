"""Counting bad rows: all of them by kind, the first of them word by word."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lit_detseg.data.packing.checks import Fault

ROWS_STORED = 1000  # bad rows that the index names; all are counted
ROWS_SHOWN = 50


@dataclass
class Tally:
    """Bad rows; takes no more memory for a million of them than for a thousand."""

    counts: Counter[str] = field(default_factory=Counter)  # by name of the kind
    rows: list[str] = field(default_factory=list)  # the first ones

    @classmethod
    def of(cls, faults: Iterable[Fault]) -> "Tally":
        """Count some faults."""
        tally = cls()
        tally.add(faults)
        return tally

    def __len__(self) -> int:
        """Rows counted."""
        return self.counts.total()

    def add(self, faults: Iterable[Fault]) -> None:
        """Count more faults, which come after those counted so far."""
        for fault in faults:
            self.counts[str(fault.kind)] += 1
            if len(self.rows) < ROWS_STORED:
                self.rows.append(str(fault))

    def join(self, other: "Tally") -> None:
        """Count another tally's rows after those counted so far."""
        self.counts.update(other.counts)
        self.rows += other.rows[: ROWS_STORED - len(self.rows)]

    def by_kind(self) -> dict[str, int]:
        """Rows of each kind, sorted by name."""
        return dict(sorted(self.counts.items()))

    def listing(self) -> str:
        """The first rows, one a line, and how many more there are."""
        shown = [f"  {row}" for row in self.rows[:ROWS_SHOWN]]
        if len(self) > len(shown):
            shown.append(f"  ... and {len(self) - len(shown)} more")
        return "\n".join(shown)

    def to_json(self) -> dict[str, Any]:
        """For the notes beside unfinished shards."""
        return {"counts": self.by_kind(), "rows": self.rows}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Tally":
        """Undo `to_json`."""
        return cls(Counter(stored["counts"]), list(stored["rows"]))
