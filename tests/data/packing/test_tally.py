"""Counting bad rows without holding them."""

import json

from lit_detseg.data.packing.checks import Fault, Kind
from lit_detseg.data.packing.tally import ROWS_SHOWN, ROWS_STORED, Tally


def faults(count, kind=Kind.UNREADABLE_IMAGE):
    return [Fault(kind, f"{number}.jpg", "empty") for number in range(count)]


def test_a_long_listing_says_how_many_are_not_shown():
    rows = Tally.of(faults(ROWS_SHOWN + 7)).listing().splitlines()

    assert rows[0] == "  0.jpg: unreadable image: empty"
    assert len(rows) == ROWS_SHOWN + 1
    assert rows[-1] == "  ... and 7 more"


def test_a_short_listing_shows_all():
    assert len(Tally.of(faults(ROWS_SHOWN)).listing().splitlines()) == ROWS_SHOWN


def test_all_rows_are_counted_and_the_first_are_kept():
    tally = Tally.of(faults(ROWS_STORED - 1))
    tally.join(Tally.of(faults(5, Kind.UNKNOWN_CLASS)))
    tally.add(faults(3))

    assert tally.by_kind() == {"unknown_class": 5, "unreadable_image": ROWS_STORED + 2}
    assert len(tally) == ROWS_STORED + 7
    assert len(tally.rows) == ROWS_STORED
    assert tally.rows[-1] == "0.jpg: unknown class: empty"


def test_joining_parts_is_counting_all_at_once():
    """What the index says does not depend on how the work was divided."""
    rows = faults(700) + faults(700, Kind.MALFORMED_MASK) + faults(100)
    whole = Tally.of(rows)

    parts = Tally()
    for start in range(0, len(rows), 90):
        parts.join(Tally.of(rows[start : start + 90]))

    assert parts == whole
    assert Tally.from_json(json.loads(json.dumps(whole.to_json()))) == whole
