"""Checkpoint files that are whole or not there, and that say so themselves.

A file appears under its name only when all its bytes are on disk; a SHA-256 beside it, in
`sha256sum`'s format, tells a damaged one. They load with `weights_only=True`: a checkpoint from
elsewhere cannot run code.
"""

import contextlib
import hashlib
import io
import os
import pickle
import re
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import CheckpointIO
from typing_extensions import Buffer

from lit_detseg.errors import UserError
from lit_detseg.runs.directory import sync_path, write_atomically
from lit_detseg.structures import LabelMap

STEP_NAME = re.compile(r"step-(\d+)\.ckpt")
BEST_NAME = "best.ckpt"


def step_name(global_step: int) -> str:
    """The file name of a numbered checkpoint: `step-00001234.ckpt`."""
    return f"step-{global_step:08d}.ckpt"


def checksum_path(path: Path) -> Path:
    """The file that holds a checkpoint's SHA-256."""
    return path.with_name(path.name + ".sha256")


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint and its checksum; until the last moment, `path` is what it was before.

    Raises:
        OSError: for example, when the disk is full; nothing is left behind.
        TypeError: when the state holds something that `weights_only=True` would not load.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _HashedFile(temporary) as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:
                raise file.error or error from None
            file.flush()
            os.fsync(file.fileno())
        _refuse_unloadable(temporary, path)
        _publish(temporary, path, file.digest.hexdigest())
    finally:
        temporary.unlink(missing_ok=True)


def copy_checkpoint(source: Path, path: Path) -> None:
    """Give a checkpoint a second name; a hard link where the file system has them."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        _publish(temporary, path, sha256_of(temporary))
    finally:
        temporary.unlink(missing_ok=True)


def remove_checkpoint(path: Path) -> None:
    """Delete a checkpoint and its checksum."""
    path.unlink(missing_ok=True)
    checksum_path(path).unlink(missing_ok=True)


def check_checkpoint(path: Path) -> None:
    """Compare a checkpoint with its checksum; without one, with the CRCs inside the file.

    Raises:
        UserError: when the file is missing, cut short or damaged.
    """
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}.{_advice(path)}")
    stated = checksum_path(path)
    if stated.is_file():
        words = stated.read_text(encoding="utf-8").split()
        problem = None if words[:1] == [sha256_of(path)] else f"its SHA-256 is not that in {stated}"
    else:
        problem = _zip_problem(path)
    if problem is not None:
        raise UserError(
            f"The checkpoint {path} ({path.stat().st_size} bytes) is damaged: {problem}."
            f"{_advice(path)}"
        )


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Verify and read a checkpoint into CPU memory.

    Raises:
        UserError: when it is missing or damaged, or holds more than tensors and plain types.
    """
    check_checkpoint(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises UnpicklingError, RuntimeError, EOFError, KeyError... on a strange file.
        raise UserError(
            f"The checkpoint {path} cannot be read: {str(error).splitlines()[0]}. It must hold "
            "tensors and plain types only, as `torch.load(..., weights_only=True)` demands."
        ) from error


def stored_label_map(path: Path) -> LabelMap | None:
    """The classes that a checkpoint's weights were trained for, without reading the weights.

    Returns:
        None when it names none, or cannot be read: whoever loads it then says why.
    """
    stored = _without_tensors(path).get("lit_detseg", {}).get("label_map")
    return None if stored is None else LabelMap.from_json(stored)


def stored_config(path: Path) -> str | None:
    """The configuration that a checkpoint was trained with, YAML, without reading the weights.

    Returns:
        None when it holds none, or cannot be read.
    """
    return _without_tensors(path).get("lit_detseg", {}).get("config")


def stored_tensor_names(path: Path) -> list[str]:
    """The names in a checkpoint's `state_dict`, without reading the weights.

    Returns:
        None of them when it cannot be read.
    """
    return list(_without_tensors(path).get("state_dict", {}))


def newest_valid_checkpoint(folder: Path) -> Path | None:
    """The numbered checkpoint of the highest global step that is whole, or None.

    Damaged ones are named in a warning and passed over.
    """
    for path in reversed(numbered_checkpoints(folder)):
        try:
            check_checkpoint(path)
        except UserError as error:
            warnings.warn(f"{error} It is passed over.", stacklevel=2)
            continue
        return path
    return None


def numbered_checkpoints(folder: Path) -> list[Path]:
    """All `step-<global step>.ckpt` of a folder, lowest step first, unverified."""
    return sorted(
        (path for path in folder.glob("step-*.ckpt") if STEP_NAME.fullmatch(path.name)),
        key=step_of,
    )


def step_of(path: Path) -> int:
    """The global step in the name of a numbered checkpoint.

    >>> step_of(Path("checkpoints/step-00001234.ckpt"))
    1234
    """
    match = STEP_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is not the name of a numbered checkpoint.")
    return int(match[1])


class AtomicCheckpointIO(CheckpointIO):
    """The functions above as a Trainer plugin: each save is atomic, each load is verified."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write `checkpoint`; called on rank zero only."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read `path` into CPU memory, on every rank; the strategy moves it to the device.

        Only an explicit `weights_only=False` reads more than tensors and plain types.
        """
        if weights_only is False:
            check_checkpoint(Path(path))
            return torch.load(path, map_location="cpu", weights_only=False)
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete `path` and its checksum."""
        remove_checkpoint(Path(path))


class _HashedFile(io.BufferedWriter):
    """What torch writes, hashed on the way; and the real error behind torch's own."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Buffer) -> int:
        self.digest.update(data)
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def _publish(temporary: Path, path: Path, sha256: str) -> None:
    """Rename into place. At no moment does a checksum stand beside a file it does not describe."""
    checksum_path(path).unlink(missing_ok=True)
    temporary.replace(path)
    sync_path(path.parent)
    write_atomically(checksum_path(path), f"{sha256}  {path.name}\n")


def _refuse_unloadable(temporary: Path, path: Path) -> None:
    try:
        torch.load(temporary, map_location="cpu", weights_only=True, mmap=True)  # reads no tensor
    except pickle.UnpicklingError as error:
        raise TypeError(
            f"{path.name} would not load again with `weights_only=True`: "
            f"{str(error).splitlines()[0]}. Keep hyper-parameters and states to tensors and plain "
            "types."
        ) from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _without_tensors(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, of whose tensors nothing is read; nothing of one that is damaged."""
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except Exception:  # torch raises whatever a strange file makes it stumble over
        return {}


def _zip_problem(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        return f"{error}, it may be cut short"
    return None if broken is None else f"its member {broken} fails its CRC"


def _advice(path: Path) -> str:
    """Name the whole checkpoint before a damaged or missing one."""
    match = STEP_NAME.fullmatch(path.name)
    for other in reversed(numbered_checkpoints(path.parent)):
        if other == path or (match and step_of(other) > int(match[1])):
            continue
        with contextlib.suppress(UserError):
            check_checkpoint(other)
            return f" Use the one before, {other}."
    return ""
