"""The number of classes: said once, by the shards, and passed on to whatever asks for it."""

import inspect
from pathlib import Path
from pydoc import locate
from typing import Any

from jsonargparse import Namespace

from lit_detseg.data.remote.indexes import read_index
from lit_detseg.data.remote.urls import as_location
from lit_detseg.data.shard_sets import SPLITS_OF, shard_cache
from lit_detseg.errors import UserError
from lit_detseg.models.weights.pretrained import FROM_CHECKPOINT, NONE
from lit_detseg.runs.checkpoints import stored_label_map
from lit_detseg.structures import LabelMap

# Stands for "the shards will say" while the configuration of a model whose constructor insists on
# `num_classes` is parsed: the parser wants a number, and no data set has this many classes.
UNSTATED = 2_147_483_647

CACHE_OPTIONS = ("cache_dir", "cache_gb", "cache_local", "storage_options")


def configured_label_map(data: Namespace, word: str) -> tuple[LabelMap, str] | None:
    """The label map that the shard sets in use agree on, and where the first of them is.

    Args:
        data: the data module's arguments.
        word: `fit`, `validate`, `test` or `predict`.

    Raises:
        UserError: when two sets differ, with the difference.
    """
    given = [data.get(name) for name in SPLITS_OF[word]]
    folders = [f for one in given if one for f in ([one] if isinstance(one, str) else one)]
    of_cache = {name: data[name] for name in CACHE_OPTIONS if name in data}
    cache = shard_cache(folders, **of_cache)
    locations = [as_location(folder, of_cache.get("cache_local", False)) for folder in folders]
    maps = [read_index(location, cache)[0].label_map for location in locations]
    for folder, label_map in zip(folders, maps, strict=True):
        if gap := maps[0].difference(label_map):
            raise UserError(
                f"{folders[0]} and {folder} do not have the same classes: {gap}. "
                "Pack both with the same list of classes."
            )
    return (maps[0], folders[0]) if maps else None


def check_classes_of_checkpoint(label_map: LabelMap, shards: str, checkpoint: Path) -> None:
    """Compare the classes of shards and weights before anything is built.

    Raises:
        UserError: when they differ, with the difference.
    """
    of_weights = stored_label_map(checkpoint)
    if of_weights is not None and (gap := label_map.difference(of_weights)):
        raise UserError(
            f"{shards} and the weights in {checkpoint} do not have the same classes: {gap}. "
            "Give the shards that belong to the checkpoint, or train from the start."
        )


def fill_num_classes(model: Namespace, label_map: LabelMap, shards: str) -> None:
    """Set `num_classes` in a parsed model, and in the models inside it, where it is accepted.

    Args:
        model: `class_path` and `init_args` as jsonargparse parses them; changed in place.
        label_map: the classes of the shards.
        shards: where they are, for the message.

    Raises:
        UserError: when the configuration names another number than the shards have.
    """
    named: Any = locate(model.class_path)
    parameters = inspect.signature(named).parameters
    init_args = model.get("init_args") or Namespace()
    if "num_classes" in parameters:
        default = parameters["num_classes"].default
        stated = init_args.get("num_classes", default)
        if stated not in (None, UNSTATED, default, len(label_map)):
            raise UserError(
                f"num_classes = {stated} is configured for {model.class_path}, but the label map "
                f"of {shards} has {len(label_map)} classes: {', '.join(label_map.names)}. "
                "Leave num_classes out: it is read from the shards. Or give the shards that this "
                "configuration was made for."
            )
        init_args["num_classes"] = len(label_map)
        model["init_args"] = init_args
    for value in list(vars(init_args).values()):
        if isinstance(value, Namespace) and "class_path" in value:
            fill_num_classes(value, label_map, shards)


def fill_from_checkpoint(model: Namespace) -> None:
    """Let a checkpoint that is about to be loaded stand in for the file of pretrained weights.

    Its weights include the backbone's, so that file need not exist any more.

    Args:
        model: `class_path` and `init_args` as jsonargparse parses them; changed in place.
    """
    init_args = model.get("init_args") or Namespace()
    for name in ("backbone_weights", "layer_weights", "weights"):
        if init_args.get(name, NONE) != NONE:
            init_args[name] = FROM_CHECKPOINT
    for value in list(vars(init_args).values()):
        if isinstance(value, Namespace) and "class_path" in value:
            fill_from_checkpoint(value)
