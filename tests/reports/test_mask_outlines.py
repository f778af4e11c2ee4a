"""Masks as paths: the same pixels as `rasterise` gives."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as coco_mask

from lit_detseg.data import ShardDataModule
from lit_detseg.data.transforms import LargeScaleJitter, Mosaic, RandomHorizontalFlip
from lit_detseg.ops.masks import pack_masks, rasterise
from lit_detseg.reports.mask_outlines import outlines, trace
from lit_detseg.reports.page_images import class_colours
from tests.data.shard_sets import raw_sample, write_shapes, write_shards
from tests.reports.page_sets import DOG, GREY, LABELS, SIZE, item, write_page

UNMOVED = (1.0, 1.0, 0.0, 0.0)


def rle(pixels):
    encoded = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return {"size": list(pixels.shape), "counts": encoded["counts"].decode("ascii")}


def packed(mask, size, placement=UNMOVED, window=None):
    window = (0, 0, size[1], size[0]) if window is None else window
    return pack_masks([mask], [size], np.array([placement]), np.array([window], dtype=float))


def even_odd(lines, height, width):
    """The pixels inside an odd number of closed lines."""
    polygons = [np.asarray(line, dtype=float).ravel().tolist() for line in lines]
    inside = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        whole = np.array([[0, 0, width, height]], dtype=float)
        masks = packed([polygon], (height, width))
        inside ^= rasterise(masks, np.array([0]), whole, height, width)[0]
    return inside


def lines_of(path):
    """The corners of path data made of M, H, V and Z."""
    lines = []
    for part in path.split("Z")[:-1]:
        x = y = None
        for letter, numbers in re.findall(r"([MHV])([^MHV]*)", part):
            values = [float(value) for value in numbers.split()]
            if letter == "M":
                x, y = values
                lines.append([])
            x, y = (values[0], y) if letter == "H" else (x, values[0]) if letter == "V" else (x, y)
            lines[-1].append((x, y))
    return lines


pictures = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(pictures)
def test_lines_enclose_the_pixels_that_are_on(pixels):
    lines = trace(pixels)
    assert np.array_equal(even_odd(lines, *pixels.shape), pixels)
    for line in lines:
        steps = np.roll(line, -1, axis=0) - line
        assert np.all(steps[::2, 1] == 0)
        assert np.all(steps[1::2, 0] == 0)


def test_a_ring_has_two_lines_of_four_corners():
    ring = np.ones((3, 3), dtype=bool)
    ring[1, 1] = False
    corners = sorted(sorted(map(tuple, line.tolist())) for line in trace(ring))
    assert corners == [[(0, 0), (0, 3), (3, 0), (3, 3)], [(1, 1), (1, 2), (2, 1), (2, 2)]]


@given(pictures)
def test_run_lengths_become_the_border_of_their_pixels(pixels):
    (outline,) = outlines(packed(rle(pixels), pixels.shape))
    drawn = even_odd(lines_of("".join(outline.paths)), *pixels.shape)
    assert np.array_equal(drawn, pixels)


@given(pixels=pictures, flip=st.booleans(), shift=st.integers(-5, 5), double=st.booleans())
def test_moved_run_lengths_are_what_rasterise_gives(pixels, flip, shift, double):
    size = 2 if double else 1
    height, width = pixels.shape[0] * size, pixels.shape[1] * size
    scale_x, offset_x = (-size, width + shift) if flip else (size, shift)
    masks = packed(
        rle(pixels), pixels.shape, (scale_x, size, offset_x, 0.0), (0, 0, width, max(height - 1, 0))
    )
    (outline,) = outlines(masks)

    whole = np.array([[0, 0, width, height]], dtype=float)
    expected = rasterise(masks, np.array([0]), whole, height, width)[0]
    drawn = even_odd(lines_of("".join(outline.paths)), height, width)
    assert np.array_equal(drawn, expected)


def test_run_lengths_are_drawn_no_finer_than_shown():
    pixels = np.zeros((400, 400), dtype=bool)
    pixels[100:300, 100:300] = np.random.default_rng(0).random((200, 200)) < 0.5
    (fine,), (coarse,) = (outlines(packed(rle(pixels), (400, 400)), s) for s in (1.0, 0.1))
    assert len(coarse.paths[0]) < len(fine.paths[0]) / 50


def test_polygons_keep_their_points():
    masks = packed([[1, 2, 30.25, 4, 5, 6], [0, 0, 1, 0, 1, 1]], (50, 50), (2.0, 1.0, 10.0, 0.0))
    (outline,) = outlines(masks)
    assert outline.paths == ("M12 2 70.5 4 20 6Z", "M10 0 12 0 12 1Z")


@pytest.mark.parametrize(
    ("window", "cut"),
    [
        pytest.param((0, 0, 50, 50), None, id="whole image"),
        pytest.param((1, 1, 9, 9), None, id="all inside"),
        pytest.param((0, 0, 6, 50), (0, 0, 6, 50), id="cut"),
    ],
)
def test_a_window_that_cuts_is_named(window, cut):
    (outline,) = outlines(packed([[1, 1, 9, 1, 9, 9]], (50, 50), window=window))
    assert outline.window == cut
    assert outline.to_json().get("window") == (None if cut is None else list(cut))


def test_objects_without_a_mask_have_no_outline():
    no_mask, square = None, [[0, 0, 4, 0, 4, 4, 0, 4]]
    pixels = np.ones((4, 4), dtype=bool)
    masks = pack_masks(
        [no_mask, square, rle(pixels), no_mask, square],
        [(4, 4)] * 5,
        np.tile(UNMOVED, (5, 1)),
        np.tile([0.0, 0, 4, 4], (5, 1)),
    )
    found = outlines(masks)
    assert [outline is not None for outline in found] == [False, True, True, False, True]
    assert found[1] == found[4]
    assert found[2].paths == ("M0 0H4V4H0Z",)


def test_run_lengths_of_another_image_are_refused():
    with pytest.raises(ValueError, match="image of another size"):
        outlines(packed({"size": [9, 9], "counts": rle(np.ones((4, 4), bool))["counts"]}, (9, 9)))


def look(browser, key, x, y):
    """The colour at a place of an image, given in its pixels."""
    drawn = browser.pixels(browser.one(f".card[data-key='{key}'] .picture"))
    height, width = drawn.shape[:2]
    return drawn[int(y / SIZE[0] * height), int(x / SIZE[1] * width)]


def test_masks_colour_the_pixels_of_their_object_and_no_others(opened):
    for layer in ("boxes", "labels"):
        opened.click(f"#layer-{layer}")
    colour = np.array(class_colours(LABELS)[DOG])
    mixed, grey = (colour + GREY) / 2, np.full(3, GREY)

    np.testing.assert_allclose(look(opened, "a", 200, 100), mixed, atol=3)
    np.testing.assert_allclose(look(opened, "a", 147, 100), grey, atol=1)
    opened.click("#view-training")
    np.testing.assert_allclose(look(opened, "a", 300 - 200, 100), mixed, atol=3)
    np.testing.assert_allclose(look(opened, "a", 200, 100), grey, atol=3)
    opened.click("#layer-masks")
    np.testing.assert_allclose(look(opened, "a", 300 - 200, 100), grey, atol=3)


def write_squares(folder):
    """Polygons that nearly fill their images."""
    pixels = np.full((90, 120, 3), GREY, np.uint8)
    samples = [raw_sample(f"{n}", pixels, [item(n % 2, 25, 10, 70)]) for n in range(6)]
    return write_shards(folder, samples)


@pytest.mark.parametrize(
    ("write", "transforms", "cells_per_pixel"),
    [
        pytest.param(
            lambda folder: write_shapes(folder, images=6),
            [RandomHorizontalFlip(0.5), LargeScaleJitter(90, 120, 0.5, 3.0)],
            1,
            id="run lengths, flipped and cut",
        ),
        pytest.param(
            write_squares,
            [LargeScaleJitter(90, 120, 1.5, 2.0), Mosaic(90, 120, 0.7, 1.0)],
            4,
            id="polygons, cut and then mixed",
        ),
    ],
)
def test_masks_on_the_screen_are_those_the_loss_rasterises(
    browser, tmp_path, write, transforms, cells_per_pixel
):
    """Compared pixel by pixel of the screen."""
    shards = write(tmp_path / "set")
    out = write_page(shards, tmp_path / "page", transforms)
    browser.open(out)
    browser.click("#view-training")
    for layer in ("boxes", "labels"):
        browser.click(f"#layer-{layer}")
    browser.style(".mask path { stroke: none !important }")
    pictures = browser.all(".card .picture")
    with_masks = [browser.pixels(picture).astype(int) for picture in pictures]
    browser.click("#layer-masks")
    without = [browser.pixels(picture).astype(int) for picture in pictures]

    data = ShardDataModule(
        str(shards), total_batch_size=1, num_workers=0, masks=True, train_transforms=transforms
    )
    batches = {batch.annotations.image_ids[0]: batch for batch in data.train_dataloader()}
    union = intersection = 0
    for key, after, before in zip(browser.cards(), with_masks, without, strict=True):
        drawn = np.abs(after - before).sum(axis=2) > 12
        masks = batches[key].masks
        objects = np.arange(len(masks.polygons))
        whole = np.tile([0.0, 0, 120, 90], (len(objects), 1))
        cells = (90 * cells_per_pixel, 120 * cells_per_pixel)
        exact = Image.fromarray(rasterise(masks, objects, whole, *cells).any(axis=0))
        expected = np.asarray(exact.resize(drawn.shape[::-1], Image.Resampling.NEAREST))
        union, intersection = (
            union + (drawn | expected).sum(),
            intersection + (drawn & expected).sum(),
        )
    assert union > 5000
    assert intersection / union > 0.98  # what is left is half covered, at the border
