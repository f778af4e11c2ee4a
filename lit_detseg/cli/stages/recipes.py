"""What the process of a stage is given: its recipe, and its command line."""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from lit_detseg.cli.ranks import is_rank_zero
from lit_detseg.cli.stages.child import Foreground
from lit_detseg.cli.stages.command_line import Options
from lit_detseg.cli.stages.stage_file import Stage, fill_names, nameable
from lit_detseg.runs.directory import RunDirectory

PROPOSALS_TO_COME = "to_come"  # stands for a name while recipes are only parsed


def recipe_of(
    stage: Stage, stages: Sequence[Stage], options: Options, proposals: Mapping[str, str]
) -> str:
    """A stage's recipe, YAML.

    Args:
        stage: the one.
        stages: all of them.
        options: of the command line.
        proposals: names of the proposals of earlier stages.
    """
    named = nameable(stages[: stage.number])
    values = {one.name: str(options.run / one.folder) for one in named}
    recipe = fill_names(stage.recipe, {**values, **proposals}, place_of(stage, options))
    starts = starts_of(stage, stages, options.run)
    if starts and stage.kind != "propose":
        recipe["run"] = {**recipe.get("run", {}), "start_from": starts}
    return yaml.safe_dump(recipe, sort_keys=False)


def arguments_of(stage: Stage, options: Options, recipe: Path) -> list[str]:
    """Of `lit-detseg fit` or `propose`; where two contradict each other, the later one counts.

    Args:
        stage: the one.
        options: of the command line of the sequence.
        recipe: file of its recipe.
    """
    arguments = ["--config", str(recipe), *options.shared, *options.of_stage.get(stage.name, [])]
    arguments += ["--run.dir", str(options.run / stage.folder)]
    if stage.kind == "propose":
        return arguments
    arguments += ["--ckpt_path", "last"]
    return [*arguments, "--trainer.max_steps=0"] if stage.kind == "store" else arguments


def starts_of(stage: Stage, stages: Sequence[Stage], run: Path) -> list[str]:
    """What `run.start_from` says for a stage.

    Args:
        stage: the one.
        stages: all of them.
        run: directory of the sequence.
    """
    folders = {one.name: run / one.folder for one in stages}
    return [
        f"{folders[start.stage]}{':' * bool(start.parts)}{','.join(start.parts)}"
        for start in stage.start_from
    ]


def place_of(stage: Stage, options: Options) -> str:
    """File, number and name of a stage, for messages."""
    return f"{options.file}, stage {stage.number} ({stage.name})"


def check_recipes(stages: Sequence[Stage], options: Options, foreground: Foreground) -> None:
    """Parse the recipes of all stages that have not begun, before hours are spent on the first.

    Raises:
        SystemExit: when one is not understood; the message has been printed.
    """
    new = [
        stage
        for stage in stages
        if stage.kind != "propose" and RunDirectory(options.run / stage.folder).status is None
    ]
    if len(new) < 2 or not is_rank_zero():  # a single one is parsed soon enough
        return
    names = {stage.name: PROPOSALS_TO_COME for stage in stages if stage.kind == "propose"}
    with tempfile.TemporaryDirectory() as folder:
        checks = []
        for stage in new:
            path = Path(folder) / f"{stage.name}.yaml"
            path.write_text(recipe_of(stage, stages, options, names), encoding="utf-8")
            arguments = arguments_of(stage, options, path)
            checks.append({"where": place_of(stage, options), "arguments": arguments})
        program = [sys.executable, "-m", "lit_detseg.cli.stages.parse_recipes"]
        if code := foreground.run([*program, json.dumps(checks)], {}):
            raise SystemExit(code)
