"""The first word of the command line: find its file, run it, print the user's mistakes.

Nothing heavy is imported here, so that `lit-detseg --help` answers at once.
"""

import sys
from importlib import import_module

from lit_detseg import __version__
from lit_detseg.cli.ranks import is_rank_zero
from lit_detseg.errors import UserError

WORDS = {
    "demo": ("lit_detseg.cli.demo", "the whole journey on drawn shapes, offline, in two minutes"),
    "pack": (
        "lit_detseg.cli.pack",
        "raw VOC, COCO, Cityscapes, drawn shapes or other shards -> shards",
    ),
    "index": ("lit_detseg.cli.index", "use webdataset tars made by others as they are"),
    "verify": ("lit_detseg.cli.verify", "what is wrong with shards, before training"),
    "browse": ("lit_detseg.cli.browse", "a page of images, as stored and as the loss sees them"),
    "plan": ("lit_detseg.cli.plan", "which images each rank reads at each step"),
    "propose": ("lit_detseg.cli.propose", "region proposals for shards, and their recall"),
    "fit": ("lit_detseg.cli.fit", "train from a recipe or --stages FILE, or continue a run"),
    "validate": ("lit_detseg.cli.fit", "evaluate a checkpoint on the validation shards"),
    "test": ("lit_detseg.cli.fit", "evaluate a checkpoint on the test shards"),
    "predict": ("lit_detseg.cli.fit", "write a checkpoint's detections to a results file"),
    "evaluate": (
        "lit_detseg.cli.evaluate",
        "score anybody's COCO, VOC or Cityscapes results files",
    ),
    "bench": ("lit_detseg.cli.bench", "the measurements behind the README's numbers"),
}
TAKES_ITS_WORD = "lit_detseg.cli.fit"  # one file for four words: it has to know which one it was


def main(arguments: list[str] | None = None) -> None:
    """Run `lit-detseg WORD ...`.

    Exits with code 0 when done, 1 when `verify` finds errors, 2 after a user's mistake (one
    message, no traceback); any other exception is a bug and keeps its traceback.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        _dispatch(arguments)
    except (UserError, FloatingPointError) as error:
        _report(str(error))
        raise SystemExit(2) from None


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return
    if arguments[0] == "--version":
        print(__version__)
        return
    word, rest = arguments[0], arguments[1:]
    if word not in WORDS:
        raise UserError(f"There is no `lit-detseg {word}`. {_nearest(word)}")
    module_name = WORDS[word][0]
    if word == "fit" and any(one.partition("=")[0] == "--stages" for one in rest):
        module_name = "lit_detseg.cli.stages.run_stages"
    run = import_module(module_name).main
    run(arguments if module_name == TAKES_ITS_WORD else rest)


def _overview() -> str:
    rows = [f"  {word:<10} {meaning}" for word, (_, meaning) in WORDS.items()]
    return "\n".join(
        [
            "usage: lit-detseg WORD ...",
            "",
            "Train detectors on PyTorch Lightning from sharded data sets.",
            "",
            *rows,
            "",
            "`lit-detseg WORD --help` explains a word.",
        ]
    )


def _nearest(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, WORDS, n=1)
    words = f"The words are {', '.join(WORDS)}."
    return f"Did you mean `{close[0]}`? {words}" if close else words


def _report(message: str) -> None:
    """Print a message once, whatever the number of ranks and loader workers behind it."""
    # A loader worker's error arrives wrapped in its traceback: keep the message alone.
    message = message.rpartition("UserError: ")[2].strip()
    if is_rank_zero():
        print(f"lit-detseg: {message}", file=sys.stderr)
