"""The command line of `lit-detseg fit --stages`: which options are whose."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lit_detseg.cli.parser import option_groups
from lit_detseg.errors import UserError

USAGE = """\
usage: lit-detseg fit --stages FILE [-c RUN.yaml] [--run.dir RUN] [OPTION ...]

Train several recipes in sequence, each from the weights of the one before. Every stage is a run of
its own in RUN/01_NAME, RUN/02_NAME, ... (RUN: runs/<name of FILE>, if not given). The same command
is always right: finished stages are skipped, an unfinished one is continued from its last
checkpoint.

  --stages FILE            the stages, see below
  -c, --config RUN.yaml    where to train: added to every stage, after its recipe
  --run.dir RUN            directory of the whole sequence
  --trainer.devices=2      any option of `lit-detseg fit`, for every stage
  --NAME.trainer.max_steps=10
                           the same for the stage called NAME alone; wins over the line above

A stage file:

"""

REFUSED = {
    "--ckpt_path": "Leave it out: what is unfinished is continued by itself.",
    "--run.start_from": "Say in the stage file what a stage starts from.",
}


@dataclass
class Options:
    """What was asked for.

    Args:
        file: the stage file.
        run: directory of the sequence.
        shared: arguments of all stages, as they stand on the command line.
        of_stage: further arguments of single stages, without the stage's name.
    """

    file: Path
    run: Path
    shared: list[str] = field(default_factory=list)
    of_stage: dict[str, list[str]] = field(default_factory=dict)

    def assign(self, stages: Iterable[str]) -> None:
        """Find the arguments that begin with the name of a stage.

        Args:
            stages: the names.
        """
        names = set(stages)
        shared, self.shared = self.shared, []
        for option in option_groups(shared):
            name, dot, rest = option[0].removeprefix("--").partition(".")
            if dot and name in names:
                self.of_stage.setdefault(name, []).extend([f"--{rest}", *option[1:]])
            else:
                self.shared += option


def parse_options(arguments: Sequence[str]) -> Options:
    """Take the options of the sequence itself out of a command line.

    Args:
        arguments: what follows `lit-detseg fit`.

    Raises:
        UserError: when `--stages` has no file, or an option is one that stages decide on.
    """
    own: dict[str, str] = {}
    shared: list[str] = []
    for option in option_groups(arguments):
        name, equals, value = option[0].partition("=")
        if name in REFUSED:
            raise UserError(f"{name} does not go with --stages. {REFUSED[name]}")
        if name not in ("--stages", "--run.dir"):
            shared += option
            continue
        own[name] = value if equals else "".join(option[1:])
    if not own.get("--stages"):
        raise UserError("--stages needs a file. `lit-detseg fit --stages --help` explains.")
    file = Path(own["--stages"])
    return Options(file, Path(own.get("--run.dir") or Path("runs") / file.stem), shared)


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the command line wants to be explained."""
    return bool({"-h", "--help"} & set(arguments))


def command(word: str, arguments: Sequence[str]) -> list[str]:
    """A command line of this very program, as a process of its own."""
    return [sys.executable, "-m", "lit_detseg", word, *arguments]
