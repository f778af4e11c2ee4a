"""A static page that shows a data set: its numbers, its images as stored and as the loss sees them.

No server and no network: a folder with `index.html`, opened from the disk. Everything that comes
from the data stands in `data.js` and gets onto the page as text, never as markup.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lit_detseg.data.index import ShardIndex
from lit_detseg.data.shards import ShardReader
from lit_detseg.reports.chosen_images import REMOTE_SHARDS, at_hand, named, spread_over
from lit_detseg.reports.page_entries import Entry, EntryWriter
from lit_detseg.reports.page_folder import DATA, IMAGES, page_folder
from lit_detseg.reports.page_images import class_colours
from lit_detseg.reports.set_statistics import of_index, of_records, records_to_read
from lit_detseg.reports.training_views import TrainingViews
from lit_detseg.structures import UserError

MOST_IMAGES = 2000  # on one page: a browser keeps all of them in memory
MOST_VIEWS = 10
ROWS_SHOWN = 50  # of those that packing dropped or clipped

Progress = Callable[[int, int], None]  # pieces of work done, in all


@dataclass(frozen=True)
class PageOptions:
    """What to show of a set.

    Args:
        images: how many, drawn by a hash; each class is among them where possible.
        keys: show these instead.
        views: how often each image is shown as the loss sees it.
        side: pixels of the longer side of the image files, at most.
        seed: of the drawing; another one shows other images.

    Raises:
        UserError: when the page would be empty or too large for a browser.
    """

    images: int = 200
    keys: tuple[str, ...] = ()
    views: int = 3
    side: int = 480
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.images <= MOST_IMAGES:
            raise UserError(f"A page shows from 1 to {MOST_IMAGES} images, not {self.images}.")
        if not 0 <= self.views <= MOST_VIEWS or not 64 <= self.side <= 4096 or self.seed < 0:
            raise UserError(
                f"{self.views} augmented views, {self.side} pixels, seed {self.seed}: use 0 to "
                f"{MOST_VIEWS} views, 64 to 4096 pixels and a seed from 0."
            )


@dataclass(frozen=True)
class StoredSet:
    """A shard set, as the page names it."""

    location: str
    index: ShardIndex
    sha256: str


class Training(NamedTuple):
    """What "as the loss sees them" means."""

    recipe: str  # where it is from, in words
    views: TrainingViews | None  # None: training on this set is refused
    refusal: str = ""  # why


class PageSummary(NamedTuple):
    """What was written."""

    images: int
    files: int
    bytes: int


def write_dataset_page(
    out: Path,
    reader: ShardReader,
    sets: Sequence[StoredSet],
    training: Training,
    command: str,
    options: PageOptions = PageOptions(),  # noqa: B008  frozen
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PageSummary:
    """Write the page of some shard sets that are read as one.

    Args:
        out: appears complete or not at all; its parents are made.
        reader: of all sets.
        sets: one by one, for the head of the page.
        training: the recipe's view of them.
        command: what was asked for, as typed.
        options: what to show.
        overwrite: whether `out` may hold an older page, which is then replaced.
        progress: called after each record read and each image written.

    Raises:
        UserError: when `out` is in the way, a key is unknown or the data cannot be read.
    """
    with page_folder(out, overwrite) as folder:
        samples = _chosen(reader, options)
        counted = records_to_read(np.flatnonzero(at_hand(reader, options.seed)))
        work = _Work(len(samples) + len(counted), progress)
        colours = class_colours(reader.label_map)
        entries = EntryWriter(reader, training.views, folder / IMAGES, options.side, colours)
        views = training.views
        sightings = {} if views is None else views.sightings(samples, options.views)
        content = {
            **_head(reader, sets, training, command),
            "statistics": of_index(reader) | of_records(reader, counted, work.done),
            "classes": _classes(reader, colours),
            "images": [
                work.counted(entries.write(sample, sightings.get(sample, [])))
                for sample in samples.tolist()
            ],
        }
        text = json.dumps(content, separators=(",", ":"))
        (folder / DATA).write_text(f"const DATASET = {text};\n", encoding="utf-8")
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return PageSummary(len(samples), len(sizes), sum(sizes))


def _chosen(reader: ShardReader, options: PageOptions) -> np.ndarray:
    if not options.keys:
        return spread_over(reader, options.images, options.seed)
    samples = named(reader, options.keys)
    if len(samples) > MOST_IMAGES:
        raise UserError(f"{len(samples)} keys: a page shows at most {MOST_IMAGES} images.")
    return samples


class _Work:
    """Counts pieces of work for whoever watches."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.progress, self.count = total, progress, 0

    def done(self) -> None:
        """One more piece."""
        self.count += 1
        if self.progress is not None:
            self.progress(self.count, self.total)

    def counted(self, entry: Entry) -> Entry:
        """One more piece, which is passed on."""
        self.done()
        return entry


def _head(
    reader: ShardReader, sets: Sequence[StoredSet], training: Training, command: str
) -> dict[str, Any]:
    """The set as a whole, and how the page came about."""
    views = training.views
    return {
        "name": ", ".join(_name(one.location) for one in sets),
        "command": command,
        "images_in_set": len(reader),
        "is_remote": any(shard.is_remote for shard in reader.shards),
        "remote_shards": REMOTE_SHARDS,
        "sets": [
            {
                "location": one.location,
                "sha256": one.sha256,
                "images": len(one.index),
                "shards": len(one.index.shards),
                "report": _report(one.index.report),
            }
            for one in sets
        ],
        "training": {
            "recipe": training.recipe,
            "refusal": training.refusal,
            **({} if views is None else views.description()),
        },
        "pixel_counts": _pixel_counts(sets),
    }


def _name(location: str) -> str:
    """The last part of a folder's or URL's name."""
    return location.rstrip("/").rpartition("/")[2] or location


def _report(report: dict[str, Any]) -> dict[str, Any]:
    """What packing says; of the bad rows, the first."""
    rows = ("dropped_rows", "clipped_rows")
    return {name: value[:ROWS_SHOWN] if name in rows else value for name, value in report.items()}


def _classes(reader: ShardReader, colours: list[tuple[int, int, int]]) -> list[dict[str, Any]]:
    ids = reader.label_map.source_ids
    return [
        {
            "name": name,
            "source_id": None if ids is None else ids[label],
            "colour": "#{:02x}{:02x}{:02x}".format(*colours[label]),
        }
        for label, name in enumerate(reader.label_map.names)
    ]


def _pixel_counts(sets: Sequence[StoredSet]) -> list[int] | None:
    """Pixels of each class in all sets, or None where there are no label maps."""
    if any(one.index.pixel_counts is None for one in sets):
        return None
    totals = [0] * len(sets[0].index.label_map)
    for one in sets:
        for counts in one.index.pixel_counts or ():
            for label, pixels in counts.items():
                if label < len(totals):
                    totals[label] += pixels
    return totals
