"""`run.start_from` before anything is built: do classes fit, and is a pretrained file needed?"""

import inspect
from collections.abc import Sequence
from pydoc import locate
from typing import Any

import torch
from jsonargparse import Namespace

from lit_detseg.cli.classes import fill_from_checkpoint
from lit_detseg.errors import UserError
from lit_detseg.models.backbones import BACKBONES, build_backbone
from lit_detseg.modules import RegionProposals
from lit_detseg.runs.checkpoints import stored_label_map
from lit_detseg.runs.start_from import FREE_OF_CLASSES, Source
from lit_detseg.structures import LabelMap

BACKBONE = "backbone"
HEAD = "roi_stage.head"  # what takes the head layers of a backbone


def check_classes_of_sources(label_map: LabelMap, shards: str, sources: Sequence[Source]) -> None:
    """Compare the classes of shards and of weights, where these depend on them.

    Raises:
        UserError: when they differ, with the difference.
    """
    for source in sources:
        of_weights = stored_label_map(source.path)
        gap = None if of_weights is None else label_map.difference(of_weights)
        if gap and source.knows_classes():
            free = sorted({name.partition(".")[0] for name in source.names()} & {*FREE_OF_CLASSES})
            advice = f" Take what knows no classes: {source.path}:{','.join(free)}." if free else ""
            raise UserError(
                f"{shards} and the weights in {source} do not have the same classes: {gap}.{advice}"
            )


def spare_pretrained_file(model: Namespace, sources: Sequence[Source]) -> None:
    """Where all that a file of pretrained weights would fill is filled anyway, do without it.

    Args:
        model: `class_path` and `init_args` as jsonargparse parses them; changed in place.
        sources: what the run starts from.
    """
    needed = [BACKBONE, *([HEAD] if _takes_head_layers(model) else [])]
    if all(any(source.takes(part) for source in sources) for part in needed):
        fill_from_checkpoint(model)


def _takes_head_layers(model: Namespace) -> bool:
    """Whether a pretrained file fills more than the backbone, as VGG-16's does; true if unsure."""
    named: Any = locate(model.class_path)
    if inspect.isclass(named) and issubclass(named, RegionProposals):
        return False
    parameters = inspect.signature(named).parameters
    default = parameters[BACKBONE].default if BACKBONE in parameters else None
    name = (model.get("init_args") or Namespace()).get(BACKBONE, default)
    if name not in BACKBONES:
        return True
    with torch.device("meta"):  # the layers without their numbers: at once
        return build_backbone(name).head_layers is not None
