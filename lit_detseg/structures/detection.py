"""The nouns of detection: what the data gives, what the model sees, what it answers.

Boxes are XYXY in pixels of the resized image, unless a name says otherwise. A box covers the
area from x1 to x2: the first pixel of an image is [0, 0, 1, 1].

Named tuples, because DataLoader pinning and Lightning's device moves already walk through them:
no `to`, `pin_memory` or `collate` method to maintain.
"""

from typing import Any, NamedTuple

from torch import Tensor

from lit_detseg.structures.masks import InstanceMasks


class Images(NamedTuple):
    """What a model may look at, training or not. Images are padded to a common size.

    Pixels are as decoded: the model normalises them, because mean, scale and channel order belong
    to its pretrained weights and have to travel with them into checkpoints and exports.
    """

    pixels: Tensor  # (B, 3, H, W) uint8, RGB, 0 to the right of and below each image
    sizes: Tensor  # (B, 2) int64, height and width before padding
    proposals: list[Tensor] | None = None  # per image (P, 4) XYXY, best first; R-CNN to Fast R-CNN
    seeds: Tensor | None = None  # (B,) int64, one per image and step; training only


class BoxTarget(NamedTuple):
    """Ground truth of one image. `N` is its number of objects, and may be 0."""

    boxes: Tensor  # (N, 4) float32 XYXY
    labels: Tensor  # (N,) int64, 0 .. num_classes - 1, entries of the label map
    image_id: str  # the shard key; metrics count images by it
    original_size: tuple[int, int]  # height, width before any resizing
    is_crowd: Tensor  # (N,) bool, COCO
    is_difficult: Tensor  # (N,) bool, VOC
    original_boxes: Tensor  # (N, 4) float64 XYXY, pixels of the original image; evaluation only
    areas: Tensor  # (N,) float64, annotated area in original pixels; evaluation only
    masks: InstanceMasks | None = None  # instance segmentation only
    void: dict[str, Any] | None = None  # RLE of what counts for nothing, in original pixels
    # Scale x, scale y, offset x, offset y from the original to the resized image; None: the whole
    # image was resized. Evaluation only.
    placement: tuple[float, float, float, float] | None = None
    source_id: int | str | None = None  # the data set's own id (COCO's number), for results files


class DetectionBatch(NamedTuple):
    """The images, and what the model must not see at test time."""

    images: Images
    targets: list[BoxTarget]  # length B


class Detections(NamedTuple):
    """What a detector finds in one image, best score first.

    A mask head answers in cells of each box. `ops/pasting.py` draws them into an image of any size:
    evaluation wants them in pixels of the original, to which the boxes are taken first.
    """

    boxes: Tensor  # (K, 4) float32 XYXY
    labels: Tensor  # (K,) int64
    scores: Tensor  # (K,) float32 probability in [0, 1]
    masks: Tensor | None = None  # (K, H, W) bool, pixels of the image that the boxes are in
    mask_cells: Tensor | None = None  # (K, M, M) float32 probability in M x M cells of each box
