"""Parts of a model, by their dotted names: `backbone`, `roi_stage.head`, `rpn.head.offsets`."""

from collections.abc import Iterable
from difflib import get_close_matches


def holds(part: str, name: str) -> bool:
    """Whether a part is, or holds, what is called `name`.

    >>> holds("rpn.head", "rpn.head.offsets.bias"), holds("rpn.head", "rpn.header.bias")
    (True, False)
    """
    return name == part or name.startswith(f"{part}.")


def nearest_part(wanted: str, names: Iterable[str]) -> str | None:
    """The part whose name is most like `wanted`; None where there are no names.

    >>> nearest_part("roi_stag.head", ["backbone.conv.weight", "roi_stage.head.offsets.weight"])
    'roi_stage.head'

    Args:
        wanted: a name that there is not.
        names: of parameters; every name that they stand in is a part.
    """
    parts = set()
    for name in names:
        words = name.split(".")
        parts |= {".".join(words[:count]) for count in range(1, len(words) + 1)}
    close = get_close_matches(wanted, sorted(parts), n=1, cutoff=0)
    return close[0] if close else None
