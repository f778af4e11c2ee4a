"""Objects of one image on another."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np

from lit_detseg.data.transforms.base import UNMOVED, MixingTransform, Sample, move
from lit_detseg.data.transforms.dense import cut_out_masks, encode, tight_box
from lit_detseg.data.transforms.visible import check_fraction, cut_to_visible


class CopyPaste(MixingTransform):
    """Paste a random subset of another image's objects onto this one.

    Simple Copy-Paste (arXiv:2012.07177, section 3): both images have been through large scale
    jitter and a flip, so write [LargeScaleJitter, RandomHorizontalFlip, CopyPaste]: the companion
    comes out of the same transforms as the image. Each of its objects with a mask, crowds apart,
    is pasted with a chance of one half, at the place where it was, without blending (which the
    paper found to make no difference). Objects of the image that are partly covered get the mask
    and the box of what is left; those covered wholly are removed. An object without a mask keeps
    its box unless that is covered.

    A mask that lost pixels becomes an RLE in pixels of the current image; all others stay as
    annotated.

    Args:
        probability: of pasting at all.
        least_visible_fraction: of what was visible of an object before, for it to stay; 0 is the
            paper's rule, to remove what is covered wholly.
    """

    def __init__(self, probability: float = 1.0, least_visible_fraction: float = 0.0) -> None:
        super().__init__(companions=1)
        self.probability = check_fraction("CopyPaste: probability", probability)
        self.least_visible_fraction = check_fraction(
            "CopyPaste: least_visible_fraction", least_visible_fraction
        )

    def mix(
        self,
        sample: Sample,
        companions: Sequence[Callable[[], Sample]],
        random: np.random.Generator,
    ) -> Sample:
        """The sample under some objects of its companion."""
        if random.random() >= self.probability:
            return sample
        other = companions[0]()
        can_be_cut_out = np.array([i.mask is not None and not i.is_crowd for i in other.items])
        drawn = (random.random(len(other.items)) < 0.5) & can_be_cut_out.astype(np.bool_)
        # The upper left corners coincide; what reaches beyond the sample's image is cut off.
        pasted = cut_to_visible(move(other.only(drawn), sample.image))
        cover = np.zeros(sample.image.shape[:2], dtype=np.bool_)
        for place, pixels in cut_out_masks(pasted):
            cover[place] |= pixels
        if not cover.any():
            return sample
        height, width = np.minimum(sample.image.shape[:2], other.image.shape[:2]).tolist()
        image = sample.image.copy()
        corner = cover[:height, :width].view(np.uint8)
        cv2.copyTo(other.image[:height, :width], corner, image[:height, :width])
        left = self._under(sample, cover)
        return Sample(
            image,
            np.concatenate([left.boxes, pasted.boxes]),
            left.items + pasted.items,
            np.concatenate([left.placements, pasted.placements]),
            np.concatenate([left.windows, pasted.windows]),
        )

    def _under(self, sample: Sample, cover: np.ndarray) -> Sample:
        """What is left of the sample's objects under (H, W) bool."""
        items, boxes = list(sample.items), sample.boxes.copy()
        placements = sample.placements.copy()
        kept = np.ones(len(items), dtype=np.bool_)
        for number, (place, before) in enumerate(cut_out_masks(sample)):
            if items[number].mask is None:
                kept[number] = self._stays(1 - _covered_fraction(boxes[number], cover))
                continue
            after = before & ~cover[place]
            area, area_left = np.count_nonzero(before), np.count_nonzero(after)
            if area_left == area:
                continue
            kept[number] = self._stays(area_left / area)
            mask = encode(after, cover.shape, place)
            items[number] = replace(items[number], mask=mask)
            corner = np.array([place[1].start, place[0].start])
            boxes[number] = tight_box(after) + np.tile(corner, 2)
            placements[number] = UNMOVED
        return sample._replace(boxes=boxes, items=tuple(items), placements=placements).only(kept)

    def _stays(self, fraction: float) -> bool:
        return fraction > 0 and fraction >= self.least_visible_fraction


def _covered_fraction(box: np.ndarray, cover: np.ndarray) -> float:
    """Of the pixels that a box touches, how many are covered."""
    left, top = np.floor(box[:2].clip(0)).astype(int)
    right, bottom = np.ceil(box[2:].clip(0)).astype(int)
    inside = cover[top:bottom, left:right]
    return float(inside.mean()) if inside.size else 0.0
