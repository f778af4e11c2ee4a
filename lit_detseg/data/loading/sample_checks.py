"""What transforms must not do to a sample, and the words for it."""

from collections.abc import Sequence

import numpy as np

from lit_detseg.data.transforms.base import MixingTransform, Sample, Transform
from lit_detseg.structures import UserError

PLACED_WITHIN = 1.0  # pixels; torchvision's boxes are rounded its own way


def check_keeps_proposals(transforms: Sequence[Transform]) -> None:
    """Refuse transforms after which nobody knows where a box of the original image is.

    Raises:
        UserError: names them.
    """
    lost = [
        type(one).__name__
        for one in transforms
        if isinstance(one, MixingTransform) or not one.says_where
    ]
    if lost:
        raise UserError(
            f"Proposals cannot follow an image through {' and '.join(lost)}: these mix images, or "
            "do not say where they put one. Take them out of the transforms, or set "
            "`data.proposals` to null."
        )


def check_followed(sample: Sample, image_id: str) -> None:
    """Refuse to place proposals where the objects show that the image was taken apart.

    Raises:
        UserError: when an object stands elsewhere than the whole image.
    """
    if not np.allclose(sample.placements, sample.placement, rtol=1e-6, atol=1e-3):
        raise UserError(
            f"Image {image_id}: a transform moves some objects otherwise than the image, so that "
            "proposals do not know where to go. Take it out of the transforms, or set "
            "`data.proposals` to null; a transform of yours moves with "
            "`lit_detseg.data.transforms.base.move`."
        )


def check_lengths(sample: Sample, image_id: str) -> None:
    """Refuse what a transform has left in disorder."""
    if len({len(field) for field in sample[1:5]}) > 1:
        raise UserError(
            f"The transforms give image {image_id} {len(sample.items)} objects but "
            f"{len(sample.boxes)} boxes, {len(sample.placements)} placements and "
            f"{len(sample.windows)} windows. Mend the transform: all have the same length."
        )


def check_evaluated(before: Sample, after: Sample, image_id: str) -> None:
    """Refuse transforms after which detections could not be compared with the annotations."""
    if [id(item) for item in after.items] != [id(item) for item in before.items]:
        raise UserError(
            f"Image {image_id}: the transforms of evaluation remove, add or redraw "
            f"objects ({len(before.items)} before, {len(after.items)} after), but each counts as "
            "it was annotated. Take such transforms out of `eval_transforms`."
        )
    scale, offset = np.array(after.placement).reshape(2, 2)
    expected = before.boxes * np.tile(scale, 2) + np.tile(offset, 2)
    if np.abs(after.boxes - expected).max(initial=0) > PLACED_WITHIN:
        raise UserError(
            f"Image {image_id}: a transform of evaluation moves boxes otherwise than the image "
            "(or flips it), so that detections would not find back to the original. Use resizes "
            "and letterboxes in `eval_transforms`; a transform of yours moves with "
            "`lit_detseg.data.transforms.base.move`."
        )
