"""Weights that a new run starts from: those of other runs, whole or in parts.

    run.start_from: runs/coco                            # a run: its last checkpoint
    run.start_from: model.ckpt:backbone,rpn              # a file; two parts of it
    run.start_from: [runs/a:backbone, runs/b:roi_stage]  # parts of two runs; the later one wins

Names:
    part: a dotted name under `model`, and all tensors that it holds.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning import LightningModule
from torch import Tensor

from lit_detseg.errors import UserError
from lit_detseg.models.parts import holds, nearest_part
from lit_detseg.runs.checkpoints import (
    load_checkpoint,
    newest_valid_checkpoint,
    stored_tensor_names,
)
from lit_detseg.runs.directory import RunDirectory

MODEL = "model."  # what the names in a LightningModule of ours begin with
PARTS = re.compile(r"(?P<path>.+):(?P<parts>[A-Za-z_][\w.]*(,[A-Za-z_][\w.]*)*)")
SHOWN = 5  # problems spelt out in one message

# What no detector of ours teaches about classes: it may come from a run with others.
FREE_OF_CLASSES = ("backbone", "rpn")


class Source(NamedTuple):
    """A checkpoint to start from, and what of it."""

    path: Path
    parts: tuple[str, ...] = ()  # none: all of it

    def takes(self, name: str) -> bool:
        """Whether a tensor, or all of a part, is wanted from here."""
        return not self.parts or any(holds(part, name) for part in self.parts)

    def names(self) -> list[str]:
        """Of the tensors that are wanted from here and are there; nothing is verified yet."""
        names = [_short(name) for name in stored_tensor_names(self.path)]
        return [name for name in names if self.takes(name)]

    def knows_classes(self) -> bool:
        """Whether anything wanted from here depends on the classes it was trained for."""
        return any(not any(holds(p, name) for p in FREE_OF_CLASSES) for name in self.names())

    def __str__(self) -> str:
        return f"{self.path}{':' * bool(self.parts)}{','.join(self.parts)}"


def find_sources(given: str | Sequence[str] | None) -> list[Source]:
    """The checkpoints behind `run.start_from`.

    Raises:
        UserError: when one is not there.
    """
    texts = [given] if isinstance(given, str) else list(given or [])
    return [_find_source(text) for text in texts]


def start_from(module: LightningModule, sources: Sequence[Source]) -> list[str]:
    """Fill a module with weights of other runs; all that is asked for, or nothing.

    A source without parts has to fit as a whole; a source with parts may hold other things, and
    the model too, but each part has to be the same in both.

    Args:
        module: changed in place.
        sources: where two have a tensor, the later one is taken.

    Returns:
        Sentences that say how many tensors came from where, and what is new.

    Raises:
        UserError: when a file is damaged, or tensors are missing, unexpected or of another shape.
    """
    full_names = {_short(name): name for name in module.state_dict()}
    model = {_short(name): tensor for name, tensor in module.state_dict().items()}
    taken: dict[str, Tensor] = {}
    origin: dict[str, Source] = {}
    problems: list[str] = []
    for source in sources:
        weights = _weights(source.path)
        problems += _problems_of_source(source, weights, model)
        wanted = {name: tensor for name, tensor in weights.items() if source.takes(name)}
        taken.update(wanted)
        origin.update(dict.fromkeys(wanted, source))
    if any(not source.parts for source in sources):
        problems += [f"{name} is missing" for name in model if name not in taken]
    if problems:
        raise UserError(_complaint(sources, problems, model, taken))
    module.load_state_dict({full_names[n]: tensor for n, tensor in taken.items()}, strict=False)
    return _sentences(sources, origin, model)


def find_checkpoint(path: Path) -> Path:
    """A checkpoint by its path, or the last one of a run by the run's directory.

    Raises:
        UserError: when there is none.
    """
    if path.is_dir():
        newest = newest_valid_checkpoint(RunDirectory(path).checkpoints)
        if newest is None:
            raise UserError(f"{path} holds no checkpoint: is it the directory of a run?")
        return newest
    if not path.is_file():
        raise UserError(f"There is no {path}. Give a checkpoint, or the directory of a run.")
    return path


def _find_source(text: str) -> Source:
    match = None if Path(text).exists() else PARTS.fullmatch(text)
    if match is None:
        return Source(find_checkpoint(Path(text)))
    return Source(find_checkpoint(Path(match["path"])), tuple(match["parts"].split(",")))


def _short(name: str) -> str:
    """The name of a tensor as parts are named: without the leading `model.`."""
    return name.removeprefix(MODEL)


def _weights(path: Path) -> dict[str, Tensor]:
    """By short name."""
    state = load_checkpoint(path).get("state_dict")
    if not isinstance(state, Mapping):
        raise UserError(f"{path} holds no `state_dict`: it is not the checkpoint of a run.")
    return {_short(name): tensor for name, tensor in state.items()}


def _problems_of_source(
    source: Source, weights: Mapping[str, Tensor], model: Mapping[str, Tensor]
) -> list[str]:
    """In words: parts that are not there, then tensors that do not fit."""
    for part in source.parts:
        for where, names in ((f"{source.path}", weights), ("the model", model)):
            if not any(holds(part, name) for name in names):
                nearest = nearest_part(part, names)
                return [f'{where} has no part "{part}" (nearest: "{nearest}")']
    wanted = {name: tensor for name, tensor in weights.items() if source.takes(name)}
    misshapen = [
        f"{name} has shape {tuple(tensor.shape)} instead of {tuple(model[name].shape)}"
        for name, tensor in wanted.items()
        if name in model and tensor.shape != model[name].shape
    ]
    unexpected = [f"{name} is unexpected" for name in wanted if name not in model]
    missing = [
        f"{name} is missing"
        for name in model
        if source.parts and source.takes(name) and name not in wanted
    ]
    return misshapen + missing + unexpected


def _complaint(
    sources: Sequence[Source],
    problems: Sequence[str],
    model: Mapping[str, Tensor],
    taken: Mapping[str, Tensor],
) -> str:
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    common = [part for part in _tops(taken) if _same(part, taken, model)]
    advice = (
        f"The same in both {'are' if len(common) > 1 else 'is'} {', '.join(common)}: take such "
        f"parts alone with {sources[-1].path}:{','.join(common)}."
        if common
        else "They have no part in common: start from the weights of this very architecture."
    )
    named = " and ".join(str(source) for source in sources)
    return f"{named} does not fit this model: {'; '.join(problems[:SHOWN])}{more}. {advice}"


def _same(part: str, taken: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> bool:
    """Whether a part holds the same tensors here and there."""
    here, there = (
        {name: tensor.shape for name, tensor in tensors.items() if holds(part, name)}
        for tensors in (taken, model)
    )
    return here == there


def _tops(names: Iterable[str]) -> list[str]:
    """The first words of names, each once, in their order."""
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def _sentences(
    sources: Sequence[Source], origin: Mapping[str, Source], model: Mapping[str, Tensor]
) -> list[str]:
    sentences = [
        f"From {source.path}: {_counted([n for n, one in origin.items() if one is source])}."
        for source in sources
    ]
    new = [name for name in model if name not in origin]
    return [*sentences, f"New: {_counted(new)}."] if new else sentences


def _counted(names: Sequence[str]) -> str:
    """`32 tensors of backbone, 4 of rpn`."""
    counts = {top: sum(name.partition(".")[0] == top for name in names) for top in _tops(names)}
    parts = [f"{count} of {top}" for top, count in counts.items()]
    if not parts:
        return "nothing"
    parts[0] = parts[0].replace(" of ", " tensors of ", 1)
    return ", ".join(parts)
