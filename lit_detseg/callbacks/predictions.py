"""Validation pictures with what was annotated and what was found."""

import colorsys
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lit_detseg.ops.masks import rasterise
from lit_detseg.ops.pasting import Pasting, paste_masks
from lit_detseg.structures import BoxTarget, DetectionBatch, Detections

GOLDEN_ANGLE = 0.381966  # of a full circle: neighbours in a label map get hues far apart
MASK_OPACITY = 0.45
MARGIN = 6  # pixels between pictures
PAPER, INK, WHITE = (247, 247, 247), (40, 40, 40), (255, 255, 255)


class Picture(NamedTuple):
    """One image to draw: ground truth on the left, detections on the right."""

    pixels: Tensor  # (3, H, W) RGB in 0..255, without padding
    target: BoxTarget | None  # None leaves the left side out
    detections: Detections | None  # None leaves the right side out
    pasting: Pasting = Pasting()  # of masks in cells of boxes


class PredictionPictures(Callback):
    """Draw the first images of a validation, annotated and detected side by side.

    Written to `<folder>/step-<global step>.png` (`validate.png` outside of training) and to the
    TensorBoard and W&B loggers, by rank zero. `validation_step` must return the
    `list[Detections]` of its batch, in pixels of the resized images; class names are
    `module.label_map.names`, and masks become pixels as `module.pasting` says.

    Args:
        folder: where the pictures go.
        count: images drawn.
        every: validations from one drawing to the next.
        min_score: detections below are not drawn.
    """

    def __init__(
        self, folder: str | Path, count: int = 8, every: int = 1, min_score: float = 0.3
    ) -> None:
        self.folder = Path(folder)
        self.count = count
        self.every = every
        self.min_score = min_score
        self._validations = 0
        self._pictures: list[Picture] = []

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Forget the pictures of the last validation."""
        self._pictures = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: Any,
        batch: DetectionBatch,
        batch_index: int,
        dataloader_index: int = 0,
    ) -> None:
        """Keep the first images, in CPU memory."""
        missing = self.count - len(self._pictures)
        wanted = trainer.is_global_zero and self._validations % self.every == 0
        if missing <= 0 or not wanted or trainer.sanity_checking or not outputs:
            return
        pairs = zip(batch.targets, outputs, strict=True)
        for index, (target, detections) in enumerate(list(pairs)[:missing]):
            height, width = batch.images.sizes[index].tolist()
            pixels = batch.images.pixels[index, :, :height, :width].cpu()
            pasting = getattr(module, "pasting", Pasting())
            self._pictures.append(Picture(pixels, _on_cpu(target), _on_cpu(detections), pasting))

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Draw them."""
        if trainer.sanity_checking:
            return
        self._validations += 1
        if not self._pictures:
            return
        label_map = getattr(module, "label_map", None)
        names = None if label_map is None else label_map.names
        grid = draw_grid(self._pictures, names=names, min_score=self.min_score)
        self.folder.mkdir(parents=True, exist_ok=True)
        fitting = trainer.state.fn == TrainerFn.FITTING
        name = f"step-{trainer.global_step:08d}" if fitting else "validate"
        grid.save(self.folder / f"{name}.png")
        self._pictures = []
        step = max(trainer.global_step - 1, 0)  # the step under which Lightning logs the scores
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(
                    "val/predictions", np.asarray(grid), step, dataformats="HWC"
                )
            elif isinstance(logger, WandbLogger):
                logger.log_image("val/predictions", [grid], step=step)


def draw_grid(
    pictures: Sequence[Picture],
    columns: int = 2,
    names: Sequence[str] | None = None,
    min_score: float = 0.3,
    longest_side: int = 480,
) -> Image.Image:
    """Draw several pictures on one sheet.

    Args:
        pictures: at least one.
        columns: pictures in a row; one with ground truth and detections is two images wide.
        names: class names by label; labels are drawn as numbers without.
        min_score: detections below are not drawn.
        longest_side: pixels; each image is resized to it before boxes and text are drawn.
    """
    cells = [draw_picture(picture, names, min_score, longest_side) for picture in pictures]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    lefts = _starts([max(cell.width for cell in cells[k::columns]) for k in range(len(rows[0]))])
    tops = _starts([max(cell.height for cell in row) for row in rows])
    sheet = Image.new("RGB", (lefts[-1], tops[-1]), PAPER)
    for row, top in zip(rows, tops, strict=False):
        for cell, left in zip(row, lefts, strict=False):
            sheet.paste(cell, (left, top))
    return sheet


def draw_picture(
    picture: Picture,
    names: Sequence[str] | None = None,
    min_score: float = 0.3,
    longest_side: int = 480,
) -> Image.Image:
    """Draw one picture: a captioned image with the ground truth, one with the detections."""
    panels: list[tuple[str, Image.Image]] = []
    height, width = picture.pixels.shape[1:]
    image, scale = _resized(picture.pixels, longest_side)
    if (target := picture.target) is not None:
        crowds = [" (crowd)" if crowd else "" for crowd in target.is_crowd]
        labels = target.labels
        tags = [
            _name(names, label) + crowd
            for label, crowd in zip(labels.tolist(), crowds, strict=True)
        ]
        annotated = _pixels(target, (height, width), image)
        truth = draw_boxes(image, target.boxes * scale, labels, tags, annotated)
        panels.append((f"{target.image_id}: annotated", truth))
    if (found := picture.detections) is not None:
        shown = (found.scores >= min_score).nonzero().squeeze(1).flip(0)  # best last, on top
        labels, scores = found.labels[shown], found.scores[shown]
        tags = [
            f"{_name(names, label)} {score:.2f}"
            for label, score in zip(labels.tolist(), scores.tolist(), strict=True)
        ]
        masks = _found_pixels(found, shown, (height, width), picture.pasting)
        drawn = draw_boxes(image, found.boxes[shown] * scale, labels, tags, masks)
        panels.append((f"{len(tags)} detected, score >= {min_score:g}", drawn))
    return _beside(panels)


def draw_boxes(
    image: Image.Image,
    boxes: Tensor,
    labels: Tensor,
    tags: Sequence[str],
    masks: Tensor | None = None,
) -> Image.Image:
    """A copy of an image with boxes, tags and masks in the colours of their classes.

    Args:
        image: RGB.
        boxes: (N, 4) XYXY in pixels of `image`.
        labels: (N,) they choose the colours.
        tags: N texts.
        masks: (N, H', W') bool, resized to `image`; padding right and below must be cut off.
    """
    image = image.copy()
    colours = [class_colour(label) for label in labels.tolist()]
    if masks is not None:
        for mask, colour in zip(masks, colours, strict=True):
            alpha = Image.fromarray((mask.numpy() * (255 * MASK_OPACITY)).astype(np.uint8))
            image.paste(colour, (0, 0), alpha.resize(image.size))
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 240))
    font = _font(max(11, round(max(image.size) / 36)))
    for box, colour in zip(boxes.tolist(), colours, strict=True):
        x1, y1, x2, y2 = box
        draw.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=colour, width=line)
    for box, colour, tag in zip(boxes.tolist(), colours, tags, strict=True):
        _draw_tag(draw, font, box, colour, tag, image.size)
    return image


def class_colour(label: int) -> tuple[int, int, int]:
    """An RGB colour on which white text is readable, far from that of neighbouring labels."""
    hue = (label * GOLDEN_ANGLE) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.40, 0.80)
    return round(red * 255), round(green * 255), round(blue * 255)


def _starts(sizes: Sequence[int]) -> list[int]:
    """Where things of these sizes start, with margins; last, where the margin after them ends."""
    return [MARGIN + sum(sizes[:k]) + MARGIN * k for k in range(len(sizes) + 1)]


def _draw_tag(
    draw: ImageDraw.ImageDraw,
    font: Any,
    box: Sequence[float],
    colour: tuple[int, int, int],
    tag: str,
    size: tuple[int, int],
) -> None:
    """White on colour: above the box where there is room, otherwise inside its upper edge."""
    _, _, right, bottom = draw.textbbox((0, 0), tag, font=font)
    width, height = right + 6, bottom + 4
    left = min(max(box[0], 0), max(size[0] - width, 0))
    top = box[1] - height if box[1] >= height else max(box[1], 0)
    draw.rectangle((left, top, left + width, top + height), fill=colour)
    draw.text((left + 3, top + 1), tag, fill=WHITE, font=font)


def _beside(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Images in a row, each under its caption."""
    font = _font(14)
    caption_height = 22
    width = sum(image.width for _, image in panels) + MARGIN * (len(panels) - 1)
    height = max(image.height for _, image in panels) + caption_height
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    left = 0
    for caption, image in panels:
        while caption and draw.textlength(caption, font=font) > image.width:
            caption = caption[1:]  # the end of an image id tells most
        draw.text((left + 2, 2), caption, fill=INK, font=font)
        sheet.paste(image, (left, caption_height))
        left += image.width + MARGIN
    return sheet


def _resized(pixels: Tensor, longest_side: int) -> tuple[Image.Image, float]:
    array = pixels.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(array)
    scale = longest_side / max(image.size)
    resample = Image.Resampling.BILINEAR if scale > 1 else Image.Resampling.LANCZOS
    size = (math.ceil(image.width * scale), math.ceil(image.height * scale))
    return image.resize(size, resample), scale


def _pixels(target: BoxTarget, size: tuple[int, int], image: Image.Image) -> Tensor | None:
    """Annotated masks at the size they are drawn, (N, H, W) bool like `image`.

    `size` is height and width of the image in whose pixels the target is.
    """
    if target.masks is None:
        return None
    height, width = size
    objects = np.arange(len(target.labels))
    whole = np.tile(np.array([0.0, 0.0, width, height]), (len(objects), 1))
    return torch.from_numpy(rasterise(target.masks, objects, whole, image.height, image.width))


def _found_pixels(
    found: Detections, shown: Tensor, size: tuple[int, int], pasting: Pasting
) -> Tensor | None:
    """Masks of the detections that are shown, (N, H, W) bool; `size` is the image's, unpadded."""
    if found.masks is not None:
        return found.masks[shown, : size[0], : size[1]]
    if found.mask_cells is None:
        return None
    cells, boxes = found.mask_cells[shown].float(), found.boxes[shown]
    return paste_masks(cells, boxes, *size, pasting.threshold, pasting.method)


def _name(names: Sequence[str] | None, label: int) -> str:
    return f"class {label}" if names is None else names[label]


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _on_cpu(values: Any) -> Any:
    """A named tuple with its tensors in CPU memory."""
    moved = [value.detach().cpu() if isinstance(value, Tensor) else value for value in values]
    return type(values)(*moved)
