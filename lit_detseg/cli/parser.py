"""Parsers whose complaints are one message: what is wrong and the nearest right word."""

import argparse
import inspect
import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pydoc import locate
from typing import Any, NoReturn

from lit_detseg.errors import UserError

# Lines of jsonargparse's complaints that say how it searched, not what is wrong.
SEARCH_NOISE = re.compile(
    r"^(- )?(Does not validate against|Subtypes:|Errors:|Given value type:|"
    r"Expected a <class 'NoneType'>|Expected a path but .* not accessible or invalid$)"
)


STAGE_FILE_KEYS = ("common", "stages")


class ShortErrorParser(argparse.ArgumentParser):
    """An `argparse` parser that says what is wrong without printing its usage first."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `UserError`, with the command that explains the options."""
        raise UserError(f"{message}. `{self.prog} --help` explains the options.")


def add_workers_argument(parser: argparse.ArgumentParser) -> None:
    """The option `--workers`: as many processes as there are cores, unless told otherwise."""
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--workers",
        type=int,
        default=cores,
        help=f"processes; 0: none but this one (default here: {cores})",
    )


def option_groups(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Each option of a command line with the values that follow it.

    >>> list(option_groups(["a", "-c", "b.yaml", "--x=1", "--y", "-2"]))
    [['a'], ['-c', 'b.yaml'], ['--x=1'], ['--y', '-2']]
    """
    group: list[str] = []
    for argument in arguments:
        if argument.startswith("-") and not _is_number(argument) and group:
            yield group
            group = []
        group.append(argument)
    if group:
        yield group


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def explain(message: str, known_keys: list[str], command: str) -> str:
    """Shorten a complaint of jsonargparse and add the nearest word that would have been right.

    Args:
        message: what jsonargparse would print after its usage.
        known_keys: dotted keys that the parser knows.
        command: what was run, for the closing hint.
    """
    lines = [line.strip() for line in message.splitlines()]
    lines = [line.removeprefix("- ") for line in lines if line and not SEARCH_NOISE.match(line)]
    key = re.search(r'[Pp]arser key "([\w.]+)"', message)
    paths = re.findall(r"Problem with given class_path '([\w.]+)'", message)
    given = [line.removeprefix("Given value: ") for line in lines if line.startswith("Given value")]
    facts = [
        re.sub(r"<class '([\w.]+)'>", r"\1", line)
        for line in lines
        if not line.startswith(("Given value", "Parser key", "Problem with given class_path"))
    ]
    said = " ".join(facts) or lines[0].removeprefix('Parser key "config": ')
    if paths:
        said = f"{paths[-1]}: {said}"
    elif key and key.group(1) != "config" and key.group(1) not in said:
        said = f"{key.group(1)}: {said}"
    if given and not paths and len(given[0]) < 80:
        said += f" (given: {given[0]})"
    return f"{said}.{_suggestion(said, paths, known_keys)} `{command} --help` lists the options."


def _suggestion(said: str, paths: list[str], known_keys: list[str]) -> str:
    """The nearest known word to the one that was not accepted, as a sentence, or nothing."""
    wrong = re.search(r"(?:[Oo]ption|arguments:) '?-*([\w.]+)", said)
    if wrong is None:
        return ""
    name = wrong.group(1)
    words = _parameters(paths[-1]) if paths else known_keys
    root, dot, rest = name.partition(".")
    if root in STAGE_FILE_KEYS and not paths:
        return " A recipe in stages is given with --stages FILE."
    roots = {word.partition(".")[0] for word in words}
    if root not in roots and (close := get_close_matches(root, roots, n=1)):
        return f" Did you mean `{close[0]}{dot}{rest}`?"
    close = get_close_matches(name, words, n=1)
    return f" Did you mean `{close[0]}`?" if close else ""


def _parameters(class_path: str) -> list[str]:
    """Of a class, and of those that it hands further arguments on to."""
    named: Any = locate(class_path)
    ancestors = inspect.getmro(named) if inspect.isclass(named) else ()
    constructors = [vars(one).get("__init__") for one in ancestors]
    written = [one for one in constructors if inspect.isfunction(one)] or [named]
    return [name for one in written for name in inspect.signature(one).parameters]
