"""Weights in files: read without running any code that may hide in them, load without gaps."""

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lit_detseg.structures import UserError

logger = logging.getLogger(__name__)

SUFFIXES = (".pth", ".pt", ".ckpt", ".npz")
WRAPPERS = ("state_dict", "model")  # where checkpoints of Lightning and of torchvision keep weights
UNREADABLE = (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError)
SHOWN = 5  # problems spelt out in one message


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name, on the CPU.

    Reads PyTorch state dicts, bare or inside a checkpoint, with `weights_only=True`, and NumPy
    archives (.npz), without pickles.

    Raises:
        UserError: when there is no such file, it cannot be read, or it holds no tensors.
    """
    if not path.is_file():
        raise UserError(f'There is no weights file "{path}". Check the path.')
    try:
        stored = _read(path)
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[:1]
        raise UserError(
            f'"{path}" cannot be read as weights: {"".join(reason) or type(error).__name__} '
            f"Give a file of tensors only ({', '.join(SUFFIXES)}), or copy it again if it was cut."
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(stored.get(wrapper), Mapping):
            stored = stored[wrapper]
    tensors = {
        str(name).removeprefix("module."): value  # written from inside DataParallel or DDP
        for name, value in stored.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        held = ", ".join(str(name) for name in list(stored)[:SHOWN]) or "nothing"
        raise UserError(
            f'"{path}" holds no tensors, only {held}. '
            f"Give a state dict, bare or under {' or '.join(WRAPPERS)}."
        )
    return tensors


def load_weights(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    ignored_prefixes: tuple[str, ...] = (),
) -> None:
    """Copy weights into a network, all of them or none.

    Args:
        network: every parameter and statistic of it must be among the weights.
        weights: by name; each must be in the network, finite, and of the right shape.
        source: where the weights come from, for messages.
        ignored_prefixes: names that may be in the file but are not wanted, such as `fc.`.

    Raises:
        UserError: naming up to five weights that do not fit.
    """
    unused = [name for name in weights if name.startswith(ignored_prefixes)]
    given = {name: weights[name] for name in weights if name not in unused}
    problems = _problems(network, given)
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise UserError(
            f"{source} does not fit this {type(network).__name__}: "
            f"{'; '.join(problems[:SHOWN])}{more}. "
            "Give the weights of this very architecture, under torchvision's names."
        )
    network.load_state_dict(given, strict=False)
    logger.info("Loaded %d tensors from %s.", len(given), source)
    if unused:
        logger.info("Not used from %s: %s.", source, ", ".join(unused))


def _read(path: Path) -> Mapping:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    stored = torch.load(path, map_location="cpu", weights_only=True)
    return stored if isinstance(stored, Mapping) else {type(stored).__name__: stored}


def _problems(network: nn.Module, given: Mapping[str, Tensor]) -> list[str]:
    """In words; `num_batches_tracked` is a counter that old files lack and nothing here reads."""
    expected = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    missing = [f"{name} is missing" for name in expected if name not in given]
    unexpected = [
        f"{name} is unexpected"
        for name in given
        if name not in expected and not name.endswith("num_batches_tracked")
    ]
    shared = [(name, given[name], expected[name]) for name in expected if name in given]
    misshapen = [
        f"{name} has shape {tuple(mine.shape)} instead of {tuple(theirs.shape)}"
        for name, mine, theirs in shared
        if mine.shape != theirs.shape
    ]
    broken = [f"{name} is not finite" for name, mine, _ in shared if not mine.isfinite().all()]
    return misshapen + missing + unexpected + broken
