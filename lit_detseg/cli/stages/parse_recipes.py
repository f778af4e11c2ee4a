"""Parse the recipes of several stages and build nothing: a mistake in the last is found at once.

A program of its own, because it has to import all that recipes may name; what starts it does not.
"""

import json
import sys
from typing import Any

from lit_detseg.cli.fit import DetSegCLI
from lit_detseg.errors import UserError


class ParsedRecipe(DetSegCLI):
    """`lit-detseg fit` as far as its command line is understood."""

    def before_instantiate_classes(self) -> None:
        """Nothing: shards and checkpoints may not be there yet."""

    def instantiate_classes(self) -> None:
        """Nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing."""


def check(stages: list[dict[str, Any]]) -> None:
    """Parse the command line of each stage.

    Args:
        stages: `where` (for messages) and `arguments` of `lit-detseg fit`.

    Raises:
        UserError: naming the stage, when one is not understood.
    """
    for stage in stages:
        try:
            ParsedRecipe(["fit", *stage["arguments"]])
        except UserError as error:
            raise UserError(f"{stage['where']}: {error}") from None


if __name__ == "__main__":
    try:
        check(json.loads(sys.argv[1]))
    except UserError as error:
        print(f"lit-detseg: {error}", file=sys.stderr)
        raise SystemExit(2) from None
