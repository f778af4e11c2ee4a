"""Parts of a shard set, packed by several machines, to the set that one would have packed."""

import glob
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lit_detseg.data.index import INDEX_FILE, Shard, ShardIndex
from lit_detseg.data.packing.pack import finish_set
from lit_detseg.data.packing.plan import PART_FILE, PackedPart, Part, Plan, read_part
from lit_detseg.data.packing.work_folder import (
    WorkFolder,
    remove_leftovers,
    remove_packed,
    work_folder,
)
from lit_detseg.errors import UserError


def merge(out: Path, overwrite: bool = False) -> ShardIndex:
    """Join the parts beside `out`, made by `pack_part`, into the shard set `out`.

    The shards are moved, not copied, and the parts are gone afterwards. Byte for byte the set is
    the one that `pack` makes. A merge that was killed can be repeated.

    Args:
        out: as it was given with each part.
        overwrite: whether `out` may be an older shard set, which is then replaced.

    Raises:
        UserError: when a part is missing, or parts were made of different data or options.
    """
    out = out.absolute()
    merged = _merged(out)
    if merged is not None:
        _remove(_parts_beside(out), out)
        return merged
    parts = _all_parts(out)
    _check_agreement(parts)
    plan = Plan.from_json(parts[0].plan)
    packed = [one for part in parts for one in part.shards]
    title = f"The set of the parts {parts[0].folder} ..."
    plan.refuse_faults(packed, title)
    plan.refuse_nothing(packed, title)
    with work_folder(out, INDEX_FILE, overwrite) as folder:
        for part in parts:
            _move_shards(part, folder)
        index = finish_set(plan, packed, folder, title)
    _remove([part.part for part in parts], out)
    return index


def _merged(out: Path) -> ShardIndex | None:
    """The index of `out` if a merge was killed after it had its name, and left parts."""
    parts = _parts_beside(out)
    if not parts or not (out / INDEX_FILE).is_file():
        return None
    index = ShardIndex.read(out)
    for part in parts:
        folder = part.folder(out)
        unfinished = WorkFolder(folder, PART_FILE).shards.exists()
        if unfinished or any(folder.glob("*.tar")):
            return None
        if (folder / PART_FILE).is_file() and not {*_kept(read_part(folder))} <= {*index.shards}:
            return None
    return index


def _remove(parts: Sequence[Part], out: Path) -> None:
    """Remove parts whose shards were moved."""
    remove_leftovers(out, INDEX_FILE)
    for part in parts:
        remove_leftovers(part.folder(out), PART_FILE)
        remove_packed(part.folder(out), PART_FILE)


def _all_parts(out: Path) -> list[PackedPart]:
    """The finished parts of a set, in order."""
    found = _parts_beside(out)
    splits = sorted({part.of for part in found})
    if not splits:
        raise UserError(
            f"There are no parts of {out} (folders like {Part(1, 16).folder(out).name} beside it). "
            "Pack them with the same --out and --part 1/16, --part 2/16, ..."
        )
    if len(splits) > 1:
        examples = ", ".join(next(p for p in found if p.of == of).folder(out).name for of in splits)
        raise UserError(
            f"{out.parent} holds parts of different divisions of {out.name}: {examples}. "
            "Remove those that are not to be joined."
        )
    wanted = [Part(number, splits[0]) for number in range(1, splits[0] + 1)]
    missing = [part for part in wanted if not (part.folder(out) / PART_FILE).is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {splits[0]} parts of {out} are missing: "
            f"{', '.join(_missing(part, out) for part in missing[:20])}"
            f"{', ...' if len(missing) > 20 else ''}. Pack each with --part I/{splits[0]}."
        )
    return [read_part(part.folder(out)) for part in wanted]


def _parts_beside(out: Path) -> list[Part]:
    """Parts of which there is a folder, finished or not."""
    pattern = re.compile(rf"{re.escape(out.name)}\.part-([0-9]{{4,}})-of-([0-9]{{4,}})(\.packing)?")
    names = [path.name for path in out.parent.glob(f"{glob.escape(out.name)}.part-*")]
    found = {pattern.fullmatch(name) for name in names} - {None}
    return sorted(
        {Part(int(one[1]), int(one[2])) for one in found if one is not None},
        key=lambda part: (part.of, part.number),
    )


def _missing(part: Part, out: Path) -> str:
    folder = part.folder(out)
    unfinished = folder.with_name(f"{folder.name}.packing").is_dir()
    return f"{part.number} (not finished)" if unfinished else str(part.number)


def _check_agreement(parts: Sequence[PackedPart]) -> None:
    """Stop when parts do not belong together."""
    first = parts[0]
    for number, part in enumerate(parts, start=1):
        if part.part != Part(number, len(parts)):
            raise UserError(
                f"{part.folder} holds part {part.part.number}/{part.part.of}: it was renamed. "
                "Give it its own name, or pack that part again."
            )
        if part.plan != first.plan:
            names = sorted({*part.plan, *first.plan})
            different = [name for name in names if part.plan.get(name) != first.plan.get(name)]
            raise UserError(
                f"{part.folder} and {first.folder.name} were made of different data or options "
                f"({'; '.join(_difference(name, part, first) for name in different)}). "
                "Pack the one that is wrong again."
            )
    plan = Plan.from_json(first.plan)
    for part in parts:
        if [one.number for one in part.shards] != [*part.part.shards(plan.num_shards)]:
            raise UserError(f"{part.folder} does not hold the shards of its part. Pack it again.")


def _difference(name: str, part: PackedPart, first: PackedPart) -> str:
    mine, theirs = (_short(one.plan.get(name)) for one in (part, first))
    return f"{name}: {mine} against {theirs}" if mine != theirs else f"{name} differs"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _move_shards(part: PackedPart, folder: WorkFolder) -> None:
    for shard in _kept(part):
        here, there = folder.shards / shard.name, part.folder / shard.name
        if there.is_file() and there.stat().st_size == shard.bytes:
            there.replace(here)
        elif not _is(here, shard):  # moved by a merge that was killed
            raise UserError(
                f"{there} is missing or has the wrong length. Remove {part.folder} and pack part "
                f"{part.part.number}/{part.part.of} again."
            )


def _kept(part: PackedPart) -> list[Shard]:
    return [one.shard for one in part.shards if one.shard is not None]


def _is(path: Path, shard: Shard) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
