"""Pictures of validation: the right images, boxes and colours, in the right places."""

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_detseg.callbacks.predictions import (
    Picture,
    PredictionPictures,
    class_colour,
    draw_boxes,
    draw_grid,
    draw_picture,
)
from lit_detseg.ops.masks import pack_masks
from lit_detseg.structures import Detections
from tests.callbacks.tiny import HEIGHT, WIDTH, TinyModule, batch_of, tiny_trainer


def picture() -> Picture:
    boxes = torch.tensor([[1.0, 2.0, 9.0, 8.0], [0.0, 0.0, 4.0, 4.0]])
    found = Detections(boxes, torch.tensor([1, 0]), torch.tensor([0.9, 0.1]))
    batch = batch_of(3)
    return Picture(batch.images.pixels[0, :, :HEIGHT, :WIDTH], batch.targets[0], found)


def test_a_validation_leaves_a_sheet_and_a_tensorboard_image(tmp_path):
    board = TensorBoardLogger(tmp_path, name="", version="tensorboard")
    drawing = PredictionPictures(tmp_path / "pictures", count=3)

    tiny_trainer(tmp_path, drawing, logger=board).fit(TinyModule())

    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["step-00000004.png", "step-00000008.png"]
    # Three images of 16 x 12 drawn 480 wide, in pairs, two pairs in a row.
    sheet = Image.open(tmp_path / "pictures/step-00000004.png")
    assert sheet.size == (4 * 480 + 5 * 6, 2 * (360 + 22) + 3 * 6)
    events = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0}).Reload()
    images = events.Images("val/predictions")
    assert [(image.step, image.width) for image in images] == [(3, sheet.width), (7, sheet.width)]


def test_pictures_can_be_rarer_than_validations(tmp_path):
    drawing = PredictionPictures(tmp_path, count=1, every=2)
    trainer = tiny_trainer(tmp_path, drawing, max_epochs=3, num_sanity_val_steps=1)
    trainer.fit(TinyModule())
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == ["step-00000004.png", "step-00000012.png"]


def test_a_box_is_drawn_on_its_own_pixels():
    blank = Image.new("RGB", (100, 80))
    box = torch.tensor([[20.0, 30.0, 60.0, 70.0]])

    drawn = np.asarray(draw_boxes(blank, box, torch.tensor([2]), ["x"]))

    colour = class_colour(2)
    for row, column in [(30, 40), (69, 40), (50, 20), (50, 59)]:  # the edges, half open
        assert tuple(drawn[row, column]) == colour
    for row, column in [(70, 40), (50, 60), (50, 40), (50, 19)]:  # outside, and within
        assert tuple(drawn[row, column]) == (0, 0, 0)
    assert np.asarray(blank).sum() == 0  # the original is not touched


def test_boxes_at_and_beyond_the_border_are_drawn_too():
    blank = Image.new("RGB", (40, 40))
    boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0], [-9.0, -9.0, 60.0, 60.0], [5.0, 5.0, 5.0, 5.0]])
    drawn = draw_boxes(blank, boxes, torch.tensor([0, 1, 2]), ["a class with a long name"] * 3)
    assert drawn.size == (40, 40)


def test_a_mask_tints_its_pixels():
    blank = Image.new("RGB", (40, 40))
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[0, 20:, :] = True
    box = torch.tensor([[0.0, 20.0, 40.0, 40.0]])
    drawn = np.asarray(draw_boxes(blank, box, torch.tensor([0]), [""], mask))
    assert drawn[30, 20].sum() > 0
    assert drawn[5, 30].sum() == 0


def test_annotated_masks_are_drawn_where_they_stand_in_the_image():
    """The left half of the image, mirrored: drawn 480 wide, x from 240 on is tinted."""
    outline = [[0.0, 0.0, WIDTH / 2, 0.0, WIDTH / 2, HEIGHT, 0.0, HEIGHT]]
    placement, window = [[-1.0, 1.0, WIDTH, 0.0]], [[0.0, 0.0, WIDTH, HEIGHT]]
    masks = pack_masks([outline], [(HEIGHT, WIDTH)], np.array(placement), np.array(window))
    one = picture()
    target = one.target._replace(masks=masks)
    plain = np.asarray(draw_picture(one._replace(detections=None)))
    tinted = np.asarray(draw_picture(Picture(one.pixels, target, None)))
    below = 22 + 300  # the caption, and some way below box and tag
    changed = (plain[below] != tinted[below]).any(axis=1)
    assert changed.tolist() == [False] * 240 + [True] * 240


@pytest.mark.parametrize("kind", ["pixels", "cells"])
def test_masks_that_were_found_are_drawn_where_their_boxes_are(kind):
    """The right half of a box of 8 x 6, as pixels of the padded image or as cells of the box."""
    pixels = torch.zeros(2, HEIGHT, WIDTH + 4, dtype=torch.bool)
    pixels[0, 2:8, 5:9] = True
    cells = torch.zeros(2, 2, 2)
    cells[0, :, 1] = 1
    one = picture()
    masks = {"masks": pixels} if kind == "pixels" else {"mask_cells": cells}
    plain = np.asarray(draw_picture(one._replace(target=None)))
    found = one.detections._replace(**masks)
    tinted = np.asarray(draw_picture(one._replace(target=None, detections=found)))
    middle = 22 + 5 * 30  # below the caption; a pixel is 30 wide
    changed = (plain[middle] != tinted[middle]).any(axis=1)
    assert changed[170:250].all()  # the border is smooth
    assert not changed[:100].any()
    assert not changed[330:].any()


def test_weak_detections_are_not_drawn():
    with_weak, without = picture(), picture()
    strong = Detections(*(field[:1] for field in without.detections[:3]))
    sheet = draw_grid([with_weak], min_score=0.3)
    assert sheet.tobytes() == draw_grid([without._replace(detections=strong)]).tobytes()
    assert sheet.tobytes() != draw_grid([with_weak], min_score=0.05).tobytes()


def test_float_pixels_and_missing_sides_are_fine():
    one = picture()
    alone = one._replace(pixels=one.pixels.float(), detections=None)
    assert draw_grid([alone], longest_side=160).size == (160 + 2 * 6, 120 + 22 + 2 * 6)


@pytest.mark.parametrize("label", range(80))
def test_white_text_is_readable_on_every_colour(label):
    linear = [(part / 255) ** 2.2 for part in class_colour(label)]
    luminance = sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    assert 1.05 / (luminance + 0.05) > 2.0  # WCAG's contrast ratio


def test_neighbouring_labels_differ_in_colour():
    colours = np.array([class_colour(label) for label in range(20)])
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() > 80
