"""`lit-detseg propose --checkpoint`: region proposals of a trained network, beside the shards."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lightning import Callback
from lightning.pytorch.utilities import rank_zero_info

from lit_detseg.callbacks.progress import RunProgress
from lit_detseg.cli.classes import fill_from_checkpoint, fill_num_classes
from lit_detseg.cli.data_section import instantiate_data
from lit_detseg.cli.fit import DetSegCLI
from lit_detseg.cli.parser import option_groups
from lit_detseg.cli.proposal_folder import StoreProposals
from lit_detseg.cli.ranks import is_rank_zero
from lit_detseg.data.proposals.compute import check_same
from lit_detseg.data.proposals.store import INDEX_FILE, ProposalIndex, proposals_folder
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError
from lit_detseg.models.detectors.region_proposals import RegionProposalDetector
from lit_detseg.modules import DetectionModule
from lit_detseg.runs.checkpoints import check_checkpoint, sha256_of, stored_config, stored_label_map
from lit_detseg.runs.directory import RunDirectory
from lit_detseg.runs.settings import RunSettings
from lit_detseg.runs.start_from import Source, find_checkpoint, start_from

METHOD = "region_proposal_network"
USAGE = """\
usage: lit-detseg propose SHARDS [SHARDS ...] --checkpoint CKPT [--name NAME] [OPTION ...]

Compute region proposals for every image of shard sets with a trained region proposal network, store
them beside the shards in proposals/NAME, and measure how many objects they find. Training reads
them with --data.proposals=NAME.

  SHARDS             folders of shard sets
  --checkpoint CKPT  of a model with a region proposal network, or the directory of its run
  --name NAME        to store them under (default: rpn- and the first digits of its SHA-256)
  --overwrite        replace those of that name
  -c RUN.yaml        where to compute: devices and so on
  --model.proposals.after_nms=2000
                     or any other option of `lit-detseg predict`; without it, what the model was
                     trained with holds: transforms of images, and numbers of proposals at test time
"""


@dataclass(frozen=True)
class Asked:
    """What to compute.

    Args:
        shards: folders; none: those that the configuration has for `sets`.
        sets: such as `train` and `val`.
        checkpoint: of the network.
        name: to store the proposals under.
        overwrite: whether older ones of that name are replaced.
    """

    shards: tuple[str, ...]
    sets: tuple[str, ...]
    checkpoint: Path
    name: str
    overwrite: bool


def main(arguments: list[str], report: Callable[[Path, str], None]) -> None:
    """Compute and store what is not there yet.

    Args:
        arguments: what follows `lit-detseg propose`.
        report: called on rank zero with each set and the name of its proposals, at the end.
    """
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return
    asked, others = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(_stored_recipe(asked.checkpoint), encoding="utf-8")
        ProposeCLI(["--config", str(recipe), *others], asked, report)


def parse(arguments: Sequence[str]) -> tuple[Asked, list[str]]:
    """What is asked for, and the options of the configuration.

    Raises:
        UserError: when the checkpoint is missing, or there is nothing to propose for.
    """
    own: dict[str, str] = {}
    shards: list[str] = []
    others: list[str] = []
    for group in option_groups(arguments):
        name, equals, value = group[0].partition("=")
        if not name.startswith("-"):
            shards += group
        elif name in ("--checkpoint", "--name", "--sets", "--overwrite"):
            own[name] = value if equals else "".join(group[1:2])
            shards += group[1 if name == "--overwrite" else 2 :] if not equals else group[1:]
        else:
            others += group
    if not own.get("--checkpoint"):
        raise UserError("--checkpoint needs a file, or the directory of a run.")
    checkpoint = find_checkpoint(Path(own["--checkpoint"]))
    sets = tuple(filter(None, own.get("--sets", "").split(",")))
    if bool(shards) == bool(sets):
        raise UserError("Name the shards to propose boxes for. `lit-detseg propose --help`.")
    name = own.get("--name") or f"rpn-{sha256_of(checkpoint)[:8]}"
    proposals_folder(Path(), name)  # checks the name
    return Asked(tuple(shards), sets, checkpoint, name, "--overwrite" in own), others


class ProposeCLI(DetSegCLI):
    """`lit-detseg predict`, the detections being proposals that go beside the shards.

    Args:
        arguments: options of `lit-detseg predict`.
        asked: what to compute.
        report: called on rank zero with each set and the name of its proposals, at the end.
    """

    def __init__(
        self, arguments: list[str], asked: Asked, report: Callable[[Path, str], None]
    ) -> None:
        self.asked = asked
        self.report = report
        self.store = StoreProposals(asked.name, METHOD, asked.overwrite)
        super().__init__(["predict", *arguments])

    def before_instantiate_classes(self) -> None:
        """Find the shards; weights and classes are the checkpoint's, whatever the shards hold."""
        config = self.config[self.word]
        settings = None if config.data is None else config.data.get("init_args")
        if settings is None:
            raise UserError(f"{self.asked.checkpoint} was not trained on shards.")
        named = [settings.get(one) for one in self.asked.sets] or [list(self.asked.shards)]
        folders = [f for one in named if one for f in ([one] if isinstance(one, str) else one)]
        if remote := [folder for folder in folders if "://" in folder]:
            raise UserError(f"{remote[0]}: propose reads folders, and writes beside the shards.")
        if not folders:
            raise UserError(f"There are no shards: set data.{' or data.'.join(self.asked.sets)}.")
        self.folders = [Path(folder) for folder in dict.fromkeys(folders)]
        for name in ("proposals", "max_proposals"):
            if name in settings:
                settings[name] = None  # the network makes them
        label_map = stored_label_map(self.asked.checkpoint)
        if label_map is not None:
            fill_num_classes(config.model, label_map, str(self.asked.checkpoint))
        fill_from_checkpoint(config.model)
        config.ckpt_path = None
        self.run = RunDirectory(Path(config.run.dir or tempfile.gettempdir()))
        config.trainer.default_root_dir = str(self.run.path)
        if config.run.dir and is_rank_zero():
            self._start_attempt(config)

    def predict(self, **arguments: Any) -> None:
        """Fill the model's first stage, and let it answer for each set in turn."""
        checkpoint = self.asked.checkpoint
        detector: Any = getattr(self.model, "model", None)
        if not (hasattr(detector, "backbone") and hasattr(detector, "rpn")):
            raise UserError(
                f"The model of {checkpoint} has no region proposal network. Train "
                "lit_detseg.modules.RegionProposals or a Faster R-CNN."
            )
        network = DetectionModule(RegionProposalDetector(detector.backbone, detector.rpn))
        for sentence in start_from(network, [Source(checkpoint, ("backbone", "rpn"))]):
            rank_zero_info(sentence)
        self.store.options = self._options(detector.rpn.proposals)
        for folder in self.folders:
            if not self._is_there(folder):
                self._compute(network, folder)
        for folder in self.folders if self.trainer.is_global_zero else []:
            self.report(folder, self.asked.name)
        if self.trainer.is_global_zero and self.run.status == "running":
            self.run.end_attempt("finished")

    def _compute(self, network: DetectionModule, folder: Path) -> None:
        self.store.shards = folder
        rank_zero_info(f"Proposing boxes for {folder}, to be stored as {self.asked.name}.")
        section = self.config[self.word].data.clone()
        section.init_args.predict = str(folder)
        data = instantiate_data(section)
        self.trainer.predict(network, datamodule=data, return_predictions=False)

    def _is_there(self, folder: Path) -> bool:
        place = proposals_folder(folder, self.asked.name)
        if self.asked.overwrite or not (place / INDEX_FILE).is_file():
            return False
        there, options = ProposalIndex.read(place), self.store.options
        check_same(there, METHOD, options, ShardReader(folder), place)
        rank_zero_info(f"{place} is there already.")
        return True

    def _options(self, settings: Any) -> dict[str, Any]:
        """What the proposals depend on, besides images, as JSON can hold it."""
        stored = self._parser(self.word).dump(self.config[self.word], skip_unset=False)
        data = yaml.safe_load(stored)["data"]
        return {
            "checkpoint": sha256_of(self.asked.checkpoint),
            "before_nms": settings.before_nms,
            "after_nms": settings.after_nms,
            "nms_iou": settings.nms_iou,
            "min_side": settings.min_side,
            "data": data["class_path"].rpartition(".")[2],
            "eval_transforms": data["init_args"].get("eval_transforms"),
        }

    def _callbacks(self, settings: RunSettings) -> list[Callback]:
        return [RunProgress(), self.store]


def _stored_recipe(checkpoint: Path) -> str:
    """The configuration that a checkpoint was trained with."""
    check_checkpoint(checkpoint)
    stored = stored_config(checkpoint)
    if stored is None:
        raise UserError(
            f"{checkpoint} does not say how it was trained: it is not the checkpoint of a run."
        )
    return stored
