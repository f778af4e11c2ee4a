"""Raw data set to shards: tar files that any webdataset reader opens, and the index beside them.

An image goes to shard `rank in the sorted input // samples_per_shard`, so a dropped image leaves
its shard one shorter and moves no other. The same input gives the same bytes, whatever the number
of workers, parts and attempts. The folder appears under its name only when everything in it is on
the disk.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lit_detseg.data.index import INDEX_FILE, ShardIndex
from lit_detseg.data.packing.checks import ON_ERROR
from lit_detseg.data.packing.packed_shard import PackedShard, ShardPacker, assemble
from lit_detseg.data.packing.plan import PART_FILE, Part, Plan, read_part, write_part
from lit_detseg.data.packing.reader import Reader
from lit_detseg.data.packing.work_folder import WorkFolder, remove_leftovers, work_folder
from lit_detseg.data.packing.workers import Progress, counter, run_tasks
from lit_detseg.errors import UserError
from lit_detseg.runs.directory import sync_path

Say = Callable[[str], None]  # told what the user should know while it runs


@dataclass(frozen=True)
class PackOptions:
    """How to pack.

    Args:
        on_error: what becomes of bad rows, one of `checks.ON_ERROR`.
        samples_per_shard: images of the input per shard.
        overwrite: whether the folder may be an older one of its kind, which is then replaced.
        workers: processes; without it, one per core.
        progress: called as images are done.
        say: called with a sentence when an earlier attempt is continued.

    Raises:
        UserError: when there is no such `on_error`, or a number is below 1.
    """

    on_error: str = "fail"
    samples_per_shard: int = 1000
    overwrite: bool = False
    workers: int | None = None
    progress: Progress | None = None
    say: Say | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ON_ERROR or self.samples_per_shard < 1:
            raise UserError(
                f"on_error = {self.on_error!r}, samples_per_shard = {self.samples_per_shard}: "
                f"use one of {', '.join(ON_ERROR)} and at least 1 image per shard."
            )
        if self.workers is not None and self.workers < 1:
            raise UserError(f"workers = {self.workers}: use at least 1 process.")


def pack(
    reader: Reader,
    out: Path,
    on_error: str = "fail",
    samples_per_shard: int = 1000,
    overwrite: bool = False,
    progress: Progress | None = None,
    workers: int | None = None,
    say: Say | None = None,
) -> ShardIndex:
    """Write all images of `reader` as a shard set into the new folder `out`.

    An attempt that was cut short is continued: finished shards are kept if their input is the same.

    Args:
        reader: for example `VocReader`, `CocoReader` or `ShapesReader`.
        out: appears complete or not at all; its parents are made.
        on_error: as in `PackOptions`, like the others.
        samples_per_shard: images of the input per shard.
        overwrite: whether `out` may be an older shard set, which is then replaced.
        progress: called as images are done.
        workers: processes; without it, one per core.
        say: called with a sentence when an earlier attempt is continued.

    Raises:
        UserError: when `out` is in the way, the input has bad rows and `on_error` is "fail" (the
            message lists them), no image is left, or a worker died.
    """
    options = PackOptions(on_error, samples_per_shard, overwrite, workers, progress, say)
    plan = Plan.of(reader, on_error, samples_per_shard)
    with work_folder(out, INDEX_FILE, overwrite) as folder:
        packed = _pack_shards(reader, folder, range(plan.num_shards), options)
        return finish_set(plan, packed, folder, reader.title)


def pack_part(reader: Reader, out: Path, part: Part, options: PackOptions) -> ShardIndex:
    """Write some of the shards of `out` into a folder beside it, for `parts.merge` to join.

    Args:
        reader: the whole data set, the same for every part.
        out: the shard set to be.
        part: which one this is.
        options: the same for every part.

    Returns:
        The index of this part's shards, which is not written.

    Raises:
        UserError: as in `pack`, but a part may have no images. Bad rows that belong to no image
            are those of every part.
    """
    plan = Plan.of(reader, options.on_error, options.samples_per_shard)
    place = part.folder(out)
    if (place / PART_FILE).is_file() and not options.overwrite:
        before = read_part(place)
        if before.plan == plan.to_json():
            remove_leftovers(place, PART_FILE)
            if options.say is not None:
                options.say(f"{place} is packed already. To pack it again, give --overwrite.")
            return assemble(plan.label_map, before.shards, plan.report(before.shards))
    with work_folder(place, PART_FILE, options.overwrite) as folder:
        packed = _pack_shards(reader, folder, part.shards(plan.num_shards), options)
        plan.refuse_faults(packed, reader.title)
        folder.keep_only({one.shard.name for one in packed if one.shard is not None})
        write_part(folder.shards, plan, part, packed)
        folder.publish()
    return assemble(plan.label_map, packed, plan.report(packed))


def finish_set(
    plan: Plan, packed: Sequence[PackedShard], folder: WorkFolder, title: str
) -> ShardIndex:
    """Make the shard set of a folder whose shards are all packed.

    Args:
        plan: what was packed and how.
        packed: every shard, in order.
        folder: where they are; gets its name.
        title: of the data set, for messages.

    Raises:
        UserError: when there are bad rows that must not be, or no images.
    """
    plan.refuse_faults(packed, title)
    plan.refuse_nothing(packed, title)
    index = assemble(plan.label_map, packed, plan.report(packed))
    folder.keep_only({shard.name for shard in index.shards})
    index.write(folder.shards)
    sync_path(folder.shards / INDEX_FILE)
    folder.publish()
    return index


def _pack_shards(
    reader: Reader, folder: WorkFolder, numbers: range, options: PackOptions
) -> list[PackedShard]:
    """Pack those shards that are not packed yet; what is known of each."""
    clip = options.on_error == "clip"
    packer = ShardPacker(reader, folder.shards, folder.notes, options.samples_per_shard, clip)
    say = options.say or (lambda sentence: None)
    found = sum(packer.note(number).is_file() for number in numbers)
    if found:
        say(
            f"Going on in {folder.root}: {found} of {len(numbers)} shards were finished by an "
            "earlier attempt, and are kept where their input is the same."
        )
    images = sum(len(packer.ranks(number)) for number in numbers)
    done = counter(options.progress, images)
    there = run_tasks(packer, numbers, options.workers or _cores(), done)
    anew = found - sum(there.values())
    if anew:
        say(f"{anew} of them were made of other images, annotations or options: packed again.")
    packed = [PackedShard.read(packer.note(number)) for number in numbers]
    missing = [number for number, one in zip(numbers, packed, strict=True) if one is None]
    if missing:
        raise UserError(
            f"The notes of shards {missing[:5]} in {folder.notes} are gone or damaged: another "
            "program changes this folder. Run the same command again."
        )
    return [one for one in packed if one is not None]


def _cores() -> int:
    return len(os.sched_getaffinity(0))
