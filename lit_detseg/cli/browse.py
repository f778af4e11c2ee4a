"""`lit-detseg browse`: a static page that shows a data set, as stored and as the loss sees it."""

import argparse
import json
import os
import shlex
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from pydoc import locate
from typing import Any

from lit_detseg.cli.data_section import instantiate_data
from lit_detseg.cli.parser import ShortErrorParser, explain
from lit_detseg.cli.progress import images_bar
from lit_detseg.cli.stages.stage_file import read_stage_file
from lit_detseg.data import ShardDataModule
from lit_detseg.data.remote.indexes import read_index
from lit_detseg.data.remote.urls import as_location, shown
from lit_detseg.data.shard_sets import shard_cache
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError
from lit_detseg.reports.dataset_page import (
    PageOptions,
    StoredSet,
    Training,
    write_dataset_page,
)
from lit_detseg.reports.page_folder import check_free
from lit_detseg.reports.training_views import TrainingViews

COMMAND = "lit-detseg browse"
SECRET = "--data.storage_options"  # may hold passwords

# The data module that a set without a recipe is read by, by the name in its index.
DATA_MODULES = {
    "coco": "lit_detseg.data.CocoDataModule",
    "voc": "lit_detseg.data.VOCDataModule",
    "cityscapes": "lit_detseg.data.CityscapesDataModule",
    "shapes": "lit_detseg.data.ShapesDataModule",
}
ANY_OTHER = "lit_detseg.data.ShardDataModule"


def main(arguments: list[str]) -> None:
    """Write the page, and say where it is and how large.

    Raises:
        UserError: when the output folder is in the way, or set, recipe or keys are wrong.
    """
    options, of_data = _parser().parse_known_args(arguments)
    if unknown := [word for word in of_data if not word.startswith("--data.")]:
        raise UserError(
            f"{COMMAND} does not know {unknown[0]!r}. Options of the data module begin with "
            f"`--data.` and contain `=`; `{COMMAND} --help` explains the others."
        )
    _write(options, of_data, shlex.join([*COMMAND.split(), *map(_public, arguments)]))


def _public(word: str) -> str:
    """A word of the command line as a page may show it: without passwords and access tokens."""
    if word.startswith(SECRET):
        return f"{SECRET}=..."
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + equals + shown(value)


def _write(options: argparse.Namespace, of_data: list[str], command: str) -> None:
    check_free(options.out, options.overwrite)
    asked = PageOptions(
        options.images, tuple(options.keys or ()), options.augmented, options.side, options.seed
    )
    config, sets, recipe = read_configuration(options.shards, options.config, of_data)
    module = instantiate_data(config.data)
    try:
        reader, training = _training(module, recipe, has_recipe=bool(options.config))
        if training.refusal:
            print(f"lit-detseg: no training views. {training.refusal}", file=sys.stderr)
        with images_bar(f"Writing the page of {', '.join(s.location for s in sets)}") as progress:
            written = write_dataset_page(
                options.out, reader, sets, training, command, asked, options.overwrite, progress
            )
    finally:
        module.teardown("fit")
    if options.json:
        print(json.dumps({"out": str(options.out), **written._asdict()}))
    else:
        size = f"{written.bytes / 1e6:.1f} MB in {written.files} files"
        print(f"{written.images} of {len(reader)} images, {size}: open {options.out}/index.html")


def read_configuration(
    shards: Sequence[str], configs: Sequence[str], of_data: Sequence[str]
) -> tuple[Any, list[StoredSet], str]:
    """The data module of a recipe, as `lit-detseg fit` would configure it, on other shards.

    Args:
        shards: take the place of the recipe's training shards.
        configs: recipes, run files, a run's `config.yaml` or files with a data module alone; later
            ones win. None: the data module that belongs to the kind of the set.
        of_data: further settings, `--data.NAME=VALUE`.

    Returns:
        The parsed section `data`, the sets, and the recipe in words.

    Raises:
        UserError: when a configuration is wrong or holds another kind of data module.
    """
    if configs:
        config = _parsed(configs, of_data)
        return _on_shards(config, shards), _stored_sets(shards, config), ", ".join(configs)
    sets = _stored_sets(shards, _parsed([], [f"--data={ANY_OTHER}", *of_data]))
    kind = (sets[0].index.report.get("source") or {}).get("data_set")
    class_path = DATA_MODULES.get(str(kind), ANY_OTHER)
    # Where no recipe says otherwise, all there is to see is shown.
    words = [f"--data={class_path}", "--data.masks=true", *of_data]
    recipe = f"the defaults of {class_path.rpartition('.')[2]}"
    return _on_shards(_parsed([], words), shards), sets, recipe


def _stored_sets(shards: Sequence[str], config: Any) -> list[StoredSet]:
    """The index of each set, through the configured cache where it is remote."""
    names = ("cache_dir", "cache_gb", "storage_options")
    settings = config.data.init_args
    cache = shard_cache(shards, **{name: settings[name] for name in names if name in settings})
    return [StoredSet(shown(one), *read_index(as_location(one), cache)) for one in shards]


def _on_shards(config: Any, shards: Sequence[str]) -> Any:
    named: Any = locate(config.data.class_path)
    if not (isinstance(named, type) and issubclass(named, ShardDataModule)):
        raise UserError(
            f"{config.data.class_path} does not read shards: `{COMMAND}` shows what a "
            "ShardDataModule delivers."
        )
    settings = config.data.init_args
    settings.train, settings.num_workers = list(shards), 0
    settings.val = settings.test = settings.predict = None
    settings.seed = settings.seed or int(config.seed_everything)  # as `fit` does
    return config


def _parsed(configs: Sequence[str], words: Sequence[str]) -> Any:
    """Of some configurations `data` and `seed_everything`; other sections are not looked at."""
    from jsonargparse import ArgumentParser
    from lightning import LightningDataModule

    sys.path.append(os.getcwd())  # a user's own classes, by import path
    parser = ArgumentParser(prog=COMMAND, exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--seed_everything", type=bool | int, default=0)
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    known = {"config", "seed_everything", "data"}
    given = []
    for file in configs:
        sections = _sections(file)
        if "stages" in sections:
            sections = read_stage_file(Path(file))[0].recipe
            given.append(f"--config={json.dumps(sections)}")
        else:
            given.append(f"--data={file}" if "class_path" in sections else f"--config={file}")
        for section in sections:
            if section not in known and "class_path" not in sections:
                known.add(section)
                parser.add_argument(f"--{section}", type=Any)
    try:
        return parser.parse_args([*given, *words])
    except ArgumentError as error:
        if "required: data" in str(error):
            raise UserError(
                f"{', '.join(configs)} has no section `data`. Give a recipe, a run's config.yaml "
                "or a file of configs/data."
            ) from None
        keys = [action.dest for action in parser._actions]
        raise UserError(explain(str(error), keys, COMMAND)) from None


def _sections(file: str) -> dict[str, Any]:
    """A configuration's sections by name."""
    import yaml

    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"The configuration {file} cannot be read ({what}).") from None
    if not isinstance(content, dict):
        raise UserError(f"The configuration {file} has no sections: is it a recipe?")
    return {str(section): value for section, value in content.items()}


def _training(module: Any, recipe: str, has_recipe: bool) -> tuple[ShardReader, Training]:
    """The reader of the module's training shards, and what its training makes of them."""
    reader = module.sets.reader("train")
    if not has_recipe:  # a set smaller than a batch is to be seen too
        module.total_batch_size = max(min(module.total_batch_size, len(reader)), 1)
    try:
        batches = module.train_dataloader().batches
        order = module.training_order()
    except UserError as error:  # a batch that is too large for the set
        return reader, Training(recipe, None, str(error))
    return reader, Training(recipe, TrainingViews(batches, order))


def _parser() -> ShortErrorParser:
    parser = ShortErrorParser(
        prog=COMMAND,
        description="Write a page that shows a data set: images with boxes, masks and labels, as "
        "stored and as the loss sees them after augmentation; histograms; filters. It opens from "
        "the disk. Further options --data.NAME=VALUE change settings of the data module.",
        allow_abbrev=False,
    )
    parser.add_argument("shards", nargs="+", metavar="SHARDS", help="shard sets, read as one")
    parser.add_argument("--out", type=Path, required=True, help="new folder of the page")
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="RECIPE",
        help="whose training to show: a recipe (of stages: the first), a run's config.yaml or a "
        "file of configs/data (default: the data module of this kind of set)",
    )
    parser.add_argument("--images", type=int, default=200, help="how many to show (default: 200)")
    parser.add_argument(
        "--keys", action="append", metavar="A,B", help="show these images; may be given again"
    )
    parser.add_argument(
        "--augmented", type=int, default=3, help="training views of each image (default: 3)"
    )
    parser.add_argument(
        "--side", type=int, default=480, help="longer side of the image files (default: 480 pixels)"
    )
    parser.add_argument("--seed", type=int, default=0, help="other seed, other images (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace the page in --out")
    parser.add_argument("--json", action="store_true", help="print what was written, for programs")
    return parser
