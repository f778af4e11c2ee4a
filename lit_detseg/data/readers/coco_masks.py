"""COCO's masks in the one form that records hold: polygons of floats, or compressed RLEs."""

from typing import Any

from lit_detseg.data.packing.checks import rle_fault
from lit_detseg.data.records import Mask


def canonical_mask(segmentation: Any) -> Mask | None:
    """The mask in canonical form; a malformed one stays as it is, for the checks to find."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict) and rle_fault(segmentation) is None:
        return _compressed(segmentation)
    if isinstance(segmentation, list) and all(
        isinstance(polygon, list) for polygon in segmentation
    ):
        return [
            [float(value) if is_number(value) else value for value in polygon]
            for polygon in segmentation
        ]
    return segmentation


def _compressed(rle: dict[str, Any]) -> dict[str, Any]:
    """`{"size", "counts"}` with `counts` as text."""
    if isinstance(rle["counts"], str):
        return {"size": rle["size"], "counts": rle["counts"]}
    from pycocotools import mask as coco_mask

    counts = coco_mask.frPyObjects(rle, *rle["size"])["counts"]
    return {"size": rle["size"], "counts": counts.decode("ascii")}


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number, finite or not: the checks tell the two apart."""
    return isinstance(value, int | float) and not isinstance(value, bool)
