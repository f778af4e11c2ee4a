"""Stage files: several recipes in sequence, readable as one row of a paper's table.

    common:                            # merged into every stage
      data: ../data/voc2007.yaml       # a file in place of a section, relative to this one
      model:
        init_args: {backbone: vgg16}
    stages:
      - name: rpn                      # its run is RUN/01_rpn
        model: {class_path: lit_detseg.modules.RegionProposals}
        trainer: {max_steps: 80_000}
      - name: proposals
        propose: {}                    # by the network of the stage before, for data.train and .val
      - name: detector
        start_from: {stage: rpn, parts: backbone}
        model: {class_path: lit_detseg.modules.FastRCNN}
        data: {init_args: {proposals: "{proposals}"}}
        trainer: {max_steps: 40_000}

`{name}` stands for the run directory of a stage, an earlier one or this one itself; of a stage that
proposes, for the name of its proposals.

Names:
    section: `model`, `data`, `trainer`, `run` or `seed_everything`, as in any recipe.
    stage: a recipe and what it starts from. Kinds of stages:
        train:   takes steps.
        store:   `train: false`; validates the weights that it starts from and stores them.
        propose: `propose: {...}`; computes region proposals with the network it starts from.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from lit_detseg.cli.stages.sections import merged, read_mapping, read_sections
from lit_detseg.errors import UserError

SECTIONS = ("model", "data", "trainer", "run", "seed_everything")
STAGE_KEYS = ("name", "start_from", "train", "propose", *SECTIONS)
PROPOSE_KEYS = ("name", "sets")
SETS = ("train", "val", "test", "predict")
NAME = re.compile(r"[a-z][a-z0-9_]*")
# First words of options that are no stage's.
RESERVED = (*SECTIONS, "stages", "config", "ckpt_path", "help", "print_config")

Kind = Literal["train", "store", "propose"]


@dataclass(frozen=True)
class Start:
    """A stage whose weights another one starts from, and which parts of them; none: all."""

    stage: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One stage, with what all stages have in common merged in.

    Args:
        number: from 1.
        name: of the stage.
        kind: what it does.
        start_from: earlier stages; of `propose`, the one whose network proposes.
        recipe: its sections; `{name}` of stages are not filled in yet. Of `propose`, what is to be
            different from how the network was trained.
        propose: options of `propose`.
    """

    number: int
    name: str
    kind: Kind
    start_from: tuple[Start, ...]
    recipe: dict[str, Any]
    propose: dict[str, Any]

    @property
    def folder(self) -> str:
        """Name of its run directory."""
        return f"{self.number:02d}_{self.name}"


def read_stage_file(path: Path) -> list[Stage]:
    """The stages of a file, in their order.

    Raises:
        UserError: naming the file and the stage, when there is no such file, or it says what it
            may not.
    """
    content = read_mapping(path)
    if "stages" not in content and "model" in content:
        raise UserError(f"{path} is a recipe without stages: give it with `-c`.")
    _check_keys(content, ("common", "stages"), f"{path}")
    entries = content.get("stages")
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: `stages` must be a list of at least one stage.")
    common = _mapping(content.get("common") or {}, f"{path}, common")
    _check_keys(common, SECTIONS, f"{path}, common")
    common = read_sections(common, path)
    stages: list[Stage] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path}, stage {number}"
        entry = _mapping(entry, where)
        name = _checked_name(entry, stages, where)
        where = f"{where} ({name})"
        _check_keys(entry, STAGE_KEYS, where)
        own = read_sections({key: entry[key] for key in SECTIONS if key in entry}, path)
        stages.append(_stage(number, name, entry, merged(common, own), own, stages, where))
        fill_names(stages[-1].recipe, {stage.name: "" for stage in nameable(stages)}, where)
    return stages


def nameable(stages: Sequence[Stage]) -> Sequence[Stage]:
    """The stages that the last of some may name: those before it, and itself where it has a run.

    Args:
        stages: the first ones of a file.
    """
    return stages[:-1] if stages[-1].kind == "propose" else stages


def fill_names(value: Any, values: Mapping[str, str], where: str) -> Any:
    """A recipe with `{name}` of stages filled in; `{{` and `}}` stand for braces.

    >>> fill_names({"init_args": {"features": "{cnn}/features"}}, {"cnn": "runs/x/01_cnn"}, "")
    {'init_args': {'features': 'runs/x/01_cnn/features'}}

    Args:
        value: a section, or a part of one.
        values: what stands for each stage that may be named.
        where: for messages.

    Raises:
        UserError: when there is no such stage.
    """

    def fill(match: re.Match) -> str:
        name = match[1]
        if name is None:
            return match[0][0]  # a brace
        if name not in values:
            raise UserError(
                f"{where}: {{{name}}} is no stage so far.{_nearest(name, values)} "
                "Write {{ and }} for braces."
            )
        return values[name]

    if isinstance(value, dict):
        return {key: fill_names(one, values, where) for key, one in value.items()}
    if isinstance(value, list):
        return [fill_names(one, values, where) for one in value]
    if isinstance(value, str):
        return re.sub(r"\{\{|\}\}|\{(\w+)\}", fill, value)
    return value


def _stage(
    number: int,
    name: str,
    entry: Mapping[str, Any],
    recipe: dict[str, Any],
    own: dict[str, Any],
    earlier: Sequence[Stage],
    where: str,
) -> Stage:
    starts = _starts(entry, recipe, earlier, where)
    if "propose" in entry:
        if "train" in entry:
            raise UserError(f"{where}: `train` and `propose` do not go together.")
        if len(starts) != 1 or starts[0].parts:
            raise UserError(
                f"{where}: `start_from` has to name the one stage whose network proposes."
            )
        options = _propose_options(entry["propose"], where)
        return Stage(number, name, "propose", starts, own, options)
    train = entry.get("train", True)
    if not isinstance(train, bool):
        raise UserError(f"{where}: train = {train!r} must be true or false.")
    if not (train or starts or recipe.get("run", {}).get("start_from")):
        raise UserError(f"{where}: `train: false` needs weights to store: say `start_from`.")
    return Stage(number, name, "train" if train else "store", starts, recipe, {})


def _starts(
    entry: Mapping[str, Any], recipe: Mapping[str, Any], earlier: Sequence[Stage], where: str
) -> tuple[Start, ...]:
    """What `start_from` says; without it, the stage before, unless `run.start_from` names files."""
    in_files = (recipe.get("run") or {}).get("start_from")
    if "start_from" not in entry:
        trained = [stage.name for stage in earlier if stage.kind != "propose"]
        return () if in_files or not trained else (Start(trained[-1]),)
    given = entry["start_from"]
    if in_files and given is not None:
        raise UserError(f"{where}: give `start_from` or `run.start_from`, not both.")
    listed = given if isinstance(given, list) else [] if given is None else [given]
    return tuple(_start(one, earlier, where) for one in listed)


def _start(given: Any, earlier: Sequence[Stage], where: str) -> Start:
    if isinstance(given, Mapping):
        _check_keys(given, ("stage", "parts"), f"{where}, start_from")
        name, parts = given.get("stage"), given.get("parts") or []
    else:
        name, parts = given, []
    parts = parts.split(",") if isinstance(parts, str) else parts
    trained = [stage.name for stage in earlier if stage.kind != "propose"]
    if name not in trained:
        raise UserError(
            f"{where}: `start_from` names {name!r}, which is no earlier stage that has weights."
            f"{_nearest(str(name), trained)} A file goes under `run.start_from`."
        )
    return Start(str(name), tuple(str(part).strip() for part in parts))


def _propose_options(given: Any, where: str) -> dict[str, Any]:
    where = f"{where}, propose"
    options = dict(_mapping(given or {}, where))
    _check_keys(options, PROPOSE_KEYS, where)
    sets = options.setdefault("sets", ["train", "val"])
    if not isinstance(sets, list) or not sets or not set(sets) <= set(SETS):
        raise UserError(f"{where}: sets = {sets!r} must be a list of some of {', '.join(SETS)}.")
    return options


def _checked_name(entry: Mapping[str, Any], earlier: Sequence[Stage], where: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UserError(
            f"{where}: name = {name!r} must be a word of small letters, digits and `_`."
        )
    if name in RESERVED:
        raise UserError(
            f"{where}: a stage cannot be called {name}: --{name} is an option of all stages."
        )
    if name in [stage.name for stage in earlier]:
        raise UserError(f"{where}: there are two stages called {name}. Rename one.")
    return name


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} must be a mapping of keys to values, not {value!r}.")
    return value


def _check_keys(given: Iterable[Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise UserError(
                f"{where}: {key!r} is not known here.{_nearest(str(key), known)} "
                f"The keys are {', '.join(known)}."
            )


def _nearest(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f" Did you mean `{close[0]}`?" if close else ""
