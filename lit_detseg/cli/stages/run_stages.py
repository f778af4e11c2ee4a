"""`lit-detseg fit --stages`: several recipes in sequence, each from the one before.

Every stage is a run of its own, trained by a process of its own. Under srun or torchrun each rank
runs this program and its own process of a stage; rank zero alone writes, and the others begin a
stage when it has written that stage's recipe: then its process of the stage before has ended, and
with it all that the two could confuse.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml

from lit_detseg.cli.ranks import is_rank_zero
from lit_detseg.cli.stages import stage_file
from lit_detseg.cli.stages.child import Foreground
from lit_detseg.cli.stages.command_line import (
    USAGE,
    Options,
    asks_for_help,
    command,
    parse_options,
)
from lit_detseg.cli.stages.recipes import arguments_of, check_recipes, recipe_of, starts_of
from lit_detseg.cli.stages.sections import difference, read_mapping
from lit_detseg.cli.stages.stage_file import Stage, read_stage_file
from lit_detseg.cli.stages.summary import print_summary
from lit_detseg.errors import UserError
from lit_detseg.runs.directory import RunDirectory, write_atomically

AS_GIVEN = "stage.yaml"  # a stage as its file says, to know whether that has changed
RECIPE = "recipe.yaml"  # the same with names filled in, for this place and these processes
PATIENCE = 600.0  # seconds that other ranks wait for rank zero to begin a stage
FIRST_PORT, LAST_PORT = 1024, 65_535  # that a user may open


def main(arguments: list[str]) -> None:
    """Train all stages that are not finished.

    Args:
        arguments: what follows `lit-detseg fit`.
    """
    if asks_for_help(arguments):
        print(USAGE + (stage_file.__doc__ or "").partition("\n\n")[2].strip("\n"))
        return
    options = parse_options(arguments)
    stages = read_stage_file(options.file)
    options.assign(stage.name for stage in stages)
    _check_directories(options, stages)
    with Foreground() as foreground:
        check_recipes(stages, options, foreground)
        for stage in stages:
            _run_stage(stage, stages, options, foreground)
    if is_rank_zero():
        print_summary(options.run, stages)


def _run_stage(
    stage: Stage, stages: Sequence[Stage], options: Options, foreground: Foreground
) -> None:
    """Skip a finished stage; start or continue any other, and stop the sequence when it fails."""
    run = RunDirectory(options.run / stage.folder)
    before = run.status
    verb = {None: "started", "finished": "finished before, skipped"}.get(before, "continued")
    _say(f"Stage {stage.number} of {len(stages)}, {stage.name}: {verb}.")
    if before == "finished":
        return
    arguments = _prepare(stage, stages, options, run, foreground)
    word = "propose" if stage.kind == "propose" else "fit"
    code = foreground.run(command(word, arguments), _rendezvous(stage))
    if foreground.stopped_by is not None:
        name = foreground.stopped_by.name
        _say(f"Stage {stage.name}: stopped by {name}. The same command goes on from here.")
        raise SystemExit(code or 128 + foreground.stopped_by)
    if code:
        _say(
            f"lit-detseg: Stage {stage.name} ended with exit code {code}, see above. The same "
            "command goes on from here.",
            sys.stderr,
        )
        raise SystemExit(code)
    if is_rank_zero():
        _check_result(stage, run)


def _prepare(
    stage: Stage,
    stages: Sequence[Stage],
    options: Options,
    run: RunDirectory,
    foreground: Foreground,
) -> list[str]:
    """Write the recipe of a stage; the arguments of its process."""
    earlier = stages[: stage.number - 1]
    names = {
        one.name: _proposals_name(one, RunDirectory(options.run / one.folder))
        for one in earlier
        if one.kind == "propose"
    }
    text = recipe_of(stage, stages, options, names)
    path = run.path / RECIPE
    if is_rank_zero():
        _ = run.run_id  # drawn before the other ranks ask for it
        write_atomically(run.path / AS_GIVEN, yaml.safe_dump(_as_given(stage), sort_keys=False))
        write_atomically(path, text)
    else:
        _wait_for(path, text, foreground)
    arguments = arguments_of(stage, options, path)
    if stage.kind == "propose":
        checkpoint = starts_of(stage, stages, options.run)[0]
        sets = ",".join(stage.propose["sets"])
        own = ["--checkpoint", checkpoint, "--name", _proposals_name(stage, run), "--sets", sets]
        return [*own, *arguments]
    return arguments


def _proposals_name(stage: Stage, run: RunDirectory) -> str:
    """By which the proposals of a stage are stored beside the shards, which other runs use too."""
    return stage.propose.get("name") or f"{stage.name}-{run.run_id}"


def _check_directories(options: Options, stages: Sequence[Stage]) -> None:
    """Refuse to mix runs of one stage file with those of another, or new weights with old ones.

    Raises:
        UserError: naming the directory.
    """
    known = {stage.folder for stage in stages}
    for folder in sorted(options.run.glob("[0-9][0-9]_*")):
        if folder.name not in known and (folder / AS_GIVEN).is_file():
            raise UserError(
                f"{options.run} holds {folder.name}, of which {options.file} knows nothing. Give "
                "another --run.dir, or delete it."
            )
    unfinished: Stage | None = None
    for stage in stages:
        run = RunDirectory(options.run / stage.folder)
        as_given = run.path / AS_GIVEN
        if as_given.is_file() and (gap := difference(read_mapping(as_given), _as_given(stage))):
            raise UserError(
                f"{run.path} was made from another {options.file}: {gap}. Put it back, give "
                f"another --run.dir, or delete {stage.folder} and all stages behind it."
            )
        if run.status is not None and unfinished is not None:
            raise UserError(
                f"{run.path} was made from an earlier {unfinished.folder}, which is not finished "
                "now. Delete it too."
            )
        if run.status != "finished":
            unfinished = unfinished or stage


def _as_given(stage: Stage) -> dict[str, Any]:
    """All that decides on the weights of a stage, as plain types."""
    starts = [{"stage": one.stage, "parts": list(one.parts)} for one in stage.start_from]
    return {"kind": stage.kind, "start_from": starts, "propose": stage.propose, **stage.recipe}


def _check_result(stage: Stage, run: RunDirectory) -> None:
    """Find out whether there is something for the next stage to go on from."""
    if run.status != "finished":
        raise UserError(
            f"Stage {stage.name} ended before its last step ({run.path / 'run.json'} says "
            f"{run.status}). The same command goes on from here."
        )
    if stage.kind != "propose" and not any(run.checkpoints.glob("step-*.ckpt")):
        raise UserError(
            f"Stage {stage.name} has left no checkpoint in {run.path}: with "
            "trainer.fast_dev_run none is written. To try out a sequence, give "
            "--trainer.max_steps=2 in place of it, and start again with another --run.dir."
        )


def _wait_for(path: Path, text: str, foreground: Foreground) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (path.is_file() and path.read_text(encoding="utf-8") == text):
        if foreground.stopped_by is not None:
            raise SystemExit(128 + foreground.stopped_by)
        if time.monotonic() > deadline:
            raise UserError(
                f"Rank zero has not written {path} for {PATIENCE:.0f} s: it has stopped, or the "
                "ranks do not see the same folder."
            )
        time.sleep(0.1)


def _rendezvous(stage: Stage) -> dict[str, str]:
    """Where the processes of a stage meet under torchrun: not where those of the last stage did.

    They would meet in the launcher's own store, and find there what the last stage has left. So
    rank zero's process opens one of its own, on a port that all ranks can work out.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return {}
    port = int(os.environ["MASTER_PORT"]) + stage.number
    if port > LAST_PORT:
        port -= LAST_PORT - FIRST_PORT
    return {"MASTER_PORT": f"{port}", "TORCHELASTIC_USE_AGENT_STORE": "False"}


def _say(sentence: str, stream: TextIO | None = None) -> None:
    if is_rank_zero():
        print(sentence, file=stream, flush=True)
