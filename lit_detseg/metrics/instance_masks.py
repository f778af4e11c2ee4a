"""Masks as metrics keep them: compressed RLE of the original image, whatever they came as."""

import numpy as np

from lit_detseg.metrics.run_lengths import Rle, encoded
from lit_detseg.ops.masks import split_masks
from lit_detseg.structures import BoxTarget, Detections, InstanceMasks, UserError


def found_masks(found: Detections, target: BoxTarget) -> np.ndarray:
    """(K,) object: the RLEs of an image's predicted masks.

    Raises:
        UserError: as `found_pixels`.
    """
    return _column([encoded(mask) for mask in found_pixels(found, target)])


def found_pixels(found: Detections, target: BoxTarget) -> np.ndarray:
    """(K, height, width) bool: an image's predicted masks.

    Raises:
        UserError: when there are none, or they are not in pixels of the original image.
    """
    if found.masks is None and len(found.boxes):
        raise UserError(
            f"The detections in image {target.image_id} have no masks, which are asked for here: "
            "use a model that predicts them, or a metric of boxes and results files of boxes."
        )
    if found.masks is None:
        return np.zeros((0, *target.original_size), dtype=np.bool_)
    if len(found.masks) != len(found.boxes):
        raise UserError(
            f"Image {target.image_id}: {len(found.masks)} masks, {len(found.boxes)} boxes."
        )
    masks = found.masks.detach().cpu().numpy().astype(np.bool_, copy=False)
    if len(masks):
        _check_size(masks.shape[1:], target, "a predicted mask")
    return masks


def true_masks(target: BoxTarget) -> np.ndarray:
    """(N,) object: the RLEs of an image's annotated masks; polygons are filled as COCO does it.

    Raises:
        UserError: when an object has no mask, or the masks are of another image size.
    """
    if target.masks is None and len(target.original_boxes):
        raise UserError(
            f"The objects of image {target.image_id} come without masks. This metric scores masks: "
            "let the data module read them, or use a metric of boxes."
        )
    if target.masks is None:
        return _column([])
    of_objects = split_masks(target.masks, [1] * len(target.masks.sizes))
    return _column([_annotated(one, number, target) for number, one in enumerate(of_objects)])


def _annotated(mask: InstanceMasks, number: int, target: BoxTarget) -> Rle:
    """The RLE of the annotated mask of one object."""
    from pycocotools import mask as coco_mask

    height, width = mask.sizes[0].tolist()
    _check_size((height, width), target, f"the mask of object {number}")
    if len(mask.counts):
        return {"size": [height, width], "counts": mask.counts.tobytes()}
    if not len(mask.polygon_points):
        raise UserError(
            f"Object {number} of image {target.image_id} has a box and no mask. Pack the shards "
            "from annotations with masks, or use a metric of boxes."
        )
    polygons = np.split(mask.points, np.cumsum(mask.polygon_points)[:-1])
    points = [polygon.ravel().tolist() for polygon in polygons]
    return coco_mask.merge(coco_mask.frPyObjects(points, height, width))


def _check_size(size: tuple[int, ...], target: BoxTarget, what: str) -> None:
    if size != tuple(target.original_size):
        raise UserError(
            f"In image {target.image_id}, {what} has the size {size}, but the original image has "
            f"{tuple(target.original_size)} (height, width). Masks are scored in its pixels."
        )


def _column(rles: list[Rle]) -> np.ndarray:
    column = np.empty(len(rles), dtype=object)
    column[:] = rles
    return column
