"""`lit-detseg bench train`: the measurements behind the README's numbers."""

import json
import logging
import tempfile
from pathlib import Path

from lit_detseg.cli.parser import ShortErrorParser
from lit_detseg.cli.quiet import quiet_libraries


def main(arguments: list[str]) -> None:
    """Measure, print a table, or one JSON object with `--json`.

    Args:
        arguments: what follows `bench` on the command line.
    """
    parser = ShortErrorParser(prog="lit-detseg bench", description=main.__doc__)
    parser.add_argument("what", choices=["train"], help="train: the Trainer against a bare loop")
    parser.add_argument("--steps", type=int, default=30, help="measured steps of each turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each of the two")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.rounds < 1:
        parser.error(f"--steps {options.steps} --rounds {options.rounds}: give at least 1 of each")
    _bench_train(options.steps, options.rounds, options.json)


def _bench_train(steps: int, rounds: int, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from lit_detseg.bench.train import measure_trainer_overhead
    from lit_detseg.data.packing.pack import pack
    from lit_detseg.data.readers.shapes import ShapesReader

    quiet_libraries()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        pack(ShapesReader(images=200, seed=0), Path(folder) / "shards")
        result = measure_trainer_overhead(Path(folder) / "shards", Path(folder), steps, rounds)
    if as_json:
        print(json.dumps(result.to_json()))
        return
    table = Table(title="Faster R-CNN, one training step")
    table.add_column("loop")
    table.add_column("ms per step", justify="right")
    table.add_column("ratio", justify="right")
    table.add_row("bare", f"{result.bare_loop:.1f}", "1")
    table.add_row("Lightning Trainer, logging", f"{result.trainer:.1f}", f"{result.ratio:.3f}")
    Console().print(table)
