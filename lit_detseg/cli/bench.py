"""`lit-detseg bench WORD`: the measurements behind the README's numbers."""

from importlib import import_module

from lit_detseg.cli.parser import ShortErrorParser
from lit_detseg.cli.quiet import quiet_libraries

# What is measured, by the module that has `add_arguments(parser)` and `run(options)`.
MEASUREMENTS = {
    "train": ("lit_detseg.bench.train", "what the Trainer costs, against a bare loop"),
    "data": ("lit_detseg.bench.data", "files to batches, against CocoDetection and transforms v2"),
    "pack": ("lit_detseg.bench.pack", "packing a data set of COCO's size: speed and memory"),
    "resume": ("lit_detseg.bench.resume", "how soon a killed run trains again"),
    "masks": (
        "lit_detseg.bench.masks",
        "Mask R-CNN against torchvision's, RoIAlign against RoIPool",
    ),
    "paper-table": ("lit_detseg.bench.paper_table", "R-CNN to Faster R-CNN on one small data set"),
    "svd": ("lit_detseg.bench.svd", "what truncated SVD of fc6 and fc7 saves"),
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
