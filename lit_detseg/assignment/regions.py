"""What each stage of R-CNN and SPP-net learns from the regions of an image.

Sources: R-CNN (arXiv:1311.2524, section 2.3, appendices B and C) and its programs; SPP-net
(arXiv:1406.4729, sections 4.1 and 4.2). The three stages have three ideas of a negative and of a
positive; appendix B says why.

Names:
    regions: the boxes of an image that are judged, its objects' own boxes first, then proposals.
    objects: what is to be learned from, see `objects_to_learn`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from lit_detseg.assignment.matching import BACKGROUND, FOREGROUND, IGNORE, Objects, match_boxes
from lit_detseg.assignment.sampling import ROIS, sample


@dataclass(frozen=True)
class RegionSampling:
    """Which regions fine-tuning looks at. Defaults: R-CNN, 16 images a step.

    The programs draw 32 positive and 96 background regions for a step, uniformly from those of all
    images. Here every image of a step brings its share of them, 2 and 6 where a step has 16 images:
    what is drawn then hangs on the image alone, not on the split over ranks. An image with many
    positives has fewer of them seen than there, one with few has the same ones seen more often.
    Where an image has too few of a kind, fewer are drawn, and none of the other kind in their
    place.

    Args:
        positives: regions on objects, per image.
        backgrounds: other regions, per image.
        foreground_iou: a region with at least this IoU is on an object, and has its class.
        background_iou: [low, high) of the best IoU of a background region.
    """

    positives: int = 2
    backgrounds: int = 6
    foreground_iou: float = 0.5
    background_iou: tuple[float, float] = (0.0, 0.5)

    @property
    def regions(self) -> int:
        """Regions that are drawn from an image at most."""
        return self.positives + self.backgrounds


R_CNN_REGIONS = RegionSampling()
SPP_NET_REGIONS = RegionSampling(background_iou=(0.1, 0.5))


class DrawnRegions(NamedTuple):
    """The regions that one image is fine-tuned on."""

    boxes: Float[Tensor, "drawn 4"]  # XYXY pixels
    labels: Int[Tensor, " drawn"]  # 0 background, otherwise 1 + label of the object
    places: Int[Tensor, " drawn"]  # among all regions of the image


def all_regions(
    proposals: Float[Tensor, "proposals 4"], objects: Objects
) -> Float[Tensor, "regions 4"]:
    """The objects' own boxes, then the proposals: the order of every stage."""
    return torch.cat([objects.boxes.to(proposals), proposals])


def draw_regions(
    regions: Float[Tensor, "regions 4"],
    objects: Objects,
    settings: RegionSampling,
    seed: Int[Tensor, ""],
) -> DrawnRegions:
    """Draw what one image is fine-tuned on, positives first.

    Args:
        regions: see `all_regions`.
        objects: of the image.
        settings: how many, and which count as what.
        seed: of this image at this step.
    """
    matches = match_boxes(regions, objects.boxes, settings.foreground_iou, settings.background_iou)
    places = []
    for kind, count in ((FOREGROUND, settings.positives), (BACKGROUND, settings.backgrounds)):
        candidates = matches.labels.masked_fill(matches.labels != kind, IGNORE)
        drawn = sample(candidates, count, float(kind == FOREGROUND), seed, ROIS)
        places.append(drawn.places[drawn.valid])
    chosen = torch.cat(places)
    labels = matches.labels[chosen]
    if len(objects.labels):  # otherwise there is nothing to look a label up in
        of_object = objects.labels[matches.objects[chosen]] + 1
        labels = of_object.where(labels == FOREGROUND, torch.zeros_like(labels))
    return DrawnRegions(regions[chosen], labels, chosen)


def svm_negatives(
    regions: Float[Tensor, "regions 4"],
    objects: Objects,
    num_classes: int,
    below_iou: float = 0.3,
) -> Bool[Tensor, "regions {num_classes}"]:
    """For each class, the regions that are negatives of its SVM.

    Those whose IoU with every object *of that class* is below `below_iou`; boxes of objects of
    other classes are among them. (Positives are the objects' own boxes alone; the rest is ignored.
    R-CNN, appendix B.)
    """
    near = box_iou(regions, objects.boxes.to(regions)).nan_to_num(0.0) >= below_iou
    of_class = F.one_hot(objects.labels, num_classes)
    return (near[:, :, None] & of_class.bool()).sum(dim=1) == 0


class RegressionPairs(NamedTuple):
    """The regions that box regression learns from, and what it is to make of them."""

    places: Int[Tensor, " pairs"]  # among all regions of the image
    objects: Int[Tensor, " pairs"]  # the object that each overlaps most; of several, the first


def regression_pairs(
    regions: Float[Tensor, "regions 4"],
    objects: Objects,
    iou: float = 0.6,
    at_least: bool = False,
) -> RegressionPairs:
    """The regions near enough to an object to be moved onto it (R-CNN, appendix C).

    Args:
        regions: the objects' own boxes are pairs with themselves.
        objects: of the image.
        iou: a pair has a larger one.
        at_least: or just this one, as in SPP-net's paper (its program does as R-CNN's).
    """
    if not len(objects.boxes):
        none = torch.zeros(0, dtype=torch.int64, device=regions.device)
        return RegressionPairs(none, none)
    best, index = box_iou(objects.boxes.to(regions), regions).nan_to_num(0.0).max(dim=0)
    near = (best >= iou) if at_least else (best > iou)
    return RegressionPairs(near.nonzero().squeeze(1), index[near])
