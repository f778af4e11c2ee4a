"""The numbers of FCIS's second stage (arXiv:1611.07709; the released experiments/fcis/cfgs)."""

from dataclasses import dataclass

from lit_detseg.assignment.mask_targets import MaskTargets
from lit_detseg.losses.region_proposal import Balance


@dataclass(frozen=True)
class FCISRoISettings:
    """How regions are put together, and which are learned from. Defaults: released, for VOC.

    Args:
        groups: parts of a region along each side (section 2.1: k = 7).
        cells: of a region's map along each side; a multiple of `groups`.
        hidden_channels: of the map that the position-sensitive ones are made from.
        num_samples: RoIs that an image learns from.
        positive_fraction: at most this share of them on objects.
        hard_examples: score all RoIs of an image, learn from the `num_samples` of largest loss
            (OHEM, section 2.3, for COCO). `positive_fraction` is not used then.
        foreground_iou: a RoI with at least this IoU is on an object.
        background_iou: [low, high) of the best IoU of a background RoI; COCO: low = 0.
        fill_background: where there are too few of those, take others below `low`. The released
            code repeats RoIs of any IoU, and may take objects for background.
        offset_std: target offsets are divided by these.
        targets: see `lit_detseg.assignment.mask_targets.mask_targets`; `cropped` is the released
            code's.
        mask_threshold: a cell or pixel of at least this probability belongs to the object, in
            targets and answers.
        balance: see `lit_detseg.losses.fcis.fcis_losses`.
    """

    groups: int = 7
    cells: int = 21
    hidden_channels: int = 1024
    num_samples: int = 128
    positive_fraction: float = 0.25
    hard_examples: bool = False
    foreground_iou: float = 0.5
    background_iou: tuple[float, float] = (0.1, 0.5)
    fill_background: bool = True
    offset_std: tuple[float, float, float, float] = (0.2, 0.2, 0.5, 0.5)
    targets: MaskTargets = "drawn"
    mask_threshold: float = 0.4
    balance: Balance = "paper"


@dataclass(frozen=True)
class FCISDetectionSettings:
    """Which regions are answered. Defaults: section 2.3, and the released code for VOC.

    Args:
        iterations: how often regions are judged: the proposals, then those that they are refined
            to, and so on. All of them are candidates, with the box that was judged.
        min_side: smaller candidates are dropped, in pixels of the resized image; COCO: 2.
        min_score: only probabilities of at least this.
        nms_iou: within a class, boxes that overlap a better one by more are dropped.
        max_detections: per image, over all classes.
        voting: let the masks of overlapping candidates vote, see
            `lit_detseg.ops.mask_voting.vote_masks`.
        voting_iou: least IoU of the candidates that have a vote.
    """

    iterations: int = 2
    min_side: float = 16.0
    min_score: float = 0.001
    nms_iou: float = 0.3
    max_detections: int = 100
    voting: bool = True
    voting_iou: float = 0.5


VOC_ROIS, VOC_DETECTIONS = FCISRoISettings(), FCISDetectionSettings()
