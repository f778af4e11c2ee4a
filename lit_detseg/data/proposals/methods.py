"""The methods of `lit-detseg propose`, and the names under which their proposals are stored."""

from typing import Any

from lit_detseg.data.proposals.edge_boxes import EdgeBoxes
from lit_detseg.data.proposals.grid import Grid
from lit_detseg.data.proposals.method import ProposalMethod
from lit_detseg.data.proposals.selective_search import SelectiveSearch

METHODS: dict[str, Any] = {method.name: method for method in (SelectiveSearch, EdgeBoxes, Grid)}
QUALITY = f"{SelectiveSearch.name}_quality"


def default_name(method: ProposalMethod) -> str:
    """The name of proposals for which none is given: the method's; the two modes are kept apart."""
    return QUALITY if method.options.get("mode") == "quality" else method.name


def propose_command(shards: str, name: str) -> str:
    """The command that computes the proposals of a name.

    >>> propose_command("voc", "selective_search_quality")
    'lit-detseg propose voc --method selective_search --mode quality'
    >>> propose_command("voc", "mine")
    'lit-detseg propose voc --method METHOD --name mine'
    """
    how = name if name in METHODS else f"METHOD --name {name}"
    if name == QUALITY:
        how = f"{SelectiveSearch.name} --mode quality"
    return f"lit-detseg propose {shards} --method {how}"
