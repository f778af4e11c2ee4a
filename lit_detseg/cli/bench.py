"""`lit-detseg bench train|data|pack|resume`: the measurements behind the README's numbers."""

import argparse
import json
import logging
import tempfile
from importlib import import_module
from pathlib import Path

from lit_detseg.cli.parser import ShortErrorParser
from lit_detseg.cli.quiet import quiet_libraries
from lit_detseg.errors import UserError

# What is measured, by the module that has `add_arguments(parser)` and `run(options)`.
MEASUREMENTS = {
    "train": (__name__, "what the Trainer costs, against a bare loop"),
    "data": ("lit_detseg.bench.data", "files to batches, against CocoDetection and transforms v2"),
    "pack": ("lit_detseg.bench.pack", "packing a data set of COCO's size: speed and memory"),
    "resume": ("lit_detseg.bench.resume", "how soon a killed run trains again"),
}


def main(arguments: list[str]) -> None:
    """Measure, and print a table, or one JSON object with `--json`.

    Args:
        arguments: what follows `bench` on the command line.
    """
    parser = ShortErrorParser(prog="lit-detseg bench", description=__doc__)
    words = parser.add_subparsers(dest="what", required=True, metavar="|".join(MEASUREMENTS))
    for word, (module, meaning) in MEASUREMENTS.items():
        of_word = words.add_parser(word, help=meaning, description=meaning, allow_abbrev=False)
        if word in arguments[:1]:  # the others' modules are not even imported
            import_module(module).add_arguments(of_word)
    options = parser.parse_args(arguments)
    quiet_libraries()
    import_module(MEASUREMENTS[options.what][0]).run(options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lit-detseg bench train`."""
    parser.add_argument("--steps", type=int, default=30, help="measured steps of each turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each of the two")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(options: argparse.Namespace) -> None:
    """Measure `bench train` and print.

    Raises:
        UserError: when the options make no measurement.
    """
    if options.steps < 1 or options.rounds < 1:
        raise UserError(
            f"--steps {options.steps} --rounds {options.rounds}: give at least 1 of each."
        )
    from rich.console import Console
    from rich.table import Table

    from lit_detseg.bench.train import measure_trainer_overhead
    from lit_detseg.data.packing.pack import pack
    from lit_detseg.data.readers.shapes import ShapesReader

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        pack(ShapesReader(images=200, seed=0), Path(folder) / "shards")
        result = measure_trainer_overhead(
            Path(folder) / "shards", Path(folder), options.steps, options.rounds
        )
    if options.json:
        print(json.dumps(result.to_json()))
        return
    table = Table(title="Faster R-CNN, one training step")
    table.add_column("loop")
    table.add_column("ms per step", justify="right")
    table.add_column("ratio", justify="right")
    table.add_row("bare", f"{result.bare_loop:.1f}", "1")
    table.add_row("Lightning Trainer, logging", f"{result.trainer:.1f}", f"{result.ratio:.3f}")
    Console().print(table)
