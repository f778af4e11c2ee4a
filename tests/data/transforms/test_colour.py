"""Colours: against the formulas of SSD's and Darknet's code, in floating point."""

import colorsys

import numpy as np
import pytest

from lit_detseg.data.transforms import DarknetColour, PhotometricDistortion, Sample, apply
from lit_detseg.structures import UserError
from tests.data.transforms.drawn import Shape, draw

GREY = np.full((4, 5, 3), 100, np.uint8)


def colours(count=400):
    """One row of random pixels."""
    return np.random.default_rng(0).integers(0, 256, (1, count, 3)).astype(np.uint8)


def changed(transform, image, seed=0):
    return apply([transform], Sample.from_objects(image, []), seed).image


def only(**change):
    """A distortion of which one part happens, always."""
    nothing = {"brightness": 0, "contrast": (1, 1), "saturation": (1, 1), "hue": 0}
    return PhotometricDistortion(**{**nothing, **change}, probability=1.0)


@pytest.mark.parametrize("transform", [PhotometricDistortion(), DarknetColour()])
def test_boxes_and_masks_stay_what_they_are(transform):
    sample = draw(20, 24, [Shape("arch", (2, 3, 18, 17))])
    result = apply([transform], sample, seed=1)
    assert result.image.dtype == np.uint8
    assert result.image.shape == sample.image.shape
    assert result[1:] == sample[1:]


def test_brightness_is_added():
    levels = [int(changed(only(brightness=32), GREY, seed)[0, 0, 0]) for seed in range(300)]
    assert min(levels) in range(68, 72)
    assert max(levels) in range(129, 133)
    assert abs(np.mean(levels) - 100) < 5 * 64 / 12**0.5 / 300**0.5


def test_contrast_multiplies_and_saturates():
    levels = [int(changed(only(contrast=(0.5, 1.5)), GREY, seed)[0, 0, 0]) for seed in range(300)]
    assert min(levels) in range(50, 54)
    assert max(levels) in range(147, 151)
    assert changed(only(contrast=(3, 3)), GREY).max() == 255


def test_saturation_pulls_towards_grey():
    image = colours()
    pale = changed(only(saturation=(0.5, 0.5)), image).astype(float)
    largest = image.max(axis=2, keepdims=True).astype(float)
    # HSV in 8 bits is up to some levels off.
    assert np.abs(pale - (largest - (largest - image) / 2)).max() <= 4


def test_the_hue_turns_by_at_most_36_degrees():
    red = np.array([[[255, 0, 0]]], np.uint8)
    hues = [
        (colorsys.rgb_to_hsv(*changed(only(hue=18), red, seed)[0, 0] / 255)[0] + 0.5) % 1 - 0.5
        for seed in range(200)
    ]
    assert min(hues) * 360 == pytest.approx(-36, abs=3)
    assert max(hues) * 360 == pytest.approx(36, abs=3)


def test_contrast_comes_before_or_after_the_rest():
    """At half the contrast, before or after half the saturation, whose rounding differs."""
    both = PhotometricDistortion(0, (0.1, 0.1), (0.5, 0.5), 0, probability=1.0)
    results = {changed(both, colours(), seed).tobytes() for seed in range(20)}
    assert len(results) == 2


def test_each_part_happens_half_of_the_time():
    bright = PhotometricDistortion(32, (1, 1), (1, 1), 0)
    unchanged = sum((changed(bright, GREY, seed) == GREY).all() for seed in range(400))
    assert abs(unchanged - 200) < 5 * 10 + 400 / 64  # a shift of less than half a level is none


def darknet(image, hue, saturation, exposure):
    """src/image.c: RGB to HSV, scale and turn, back, constrain to [0, 1]."""
    result = []
    for pixel in image.reshape(-1, 3) / 255:
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        # colorsys.hsv_to_rgb is linear in v and s, beyond 1 too.
        result.append(colorsys.hsv_to_rgb((h + hue) % 1, s * saturation, v * exposure))
    return (np.array(result).clip(0, 1) * 255).reshape(image.shape)


@pytest.mark.parametrize("seed", range(4))
def test_darknet_without_a_turn_is_exact(seed):
    image = colours()
    random = np.random.default_rng(seed)
    random.uniform(-0.0, 0.0)
    factors = []
    for _ in range(2):
        factor, up = random.uniform(1, 1.5), random.random() < 0.5
        factors.append(factor if up else 1 / factor)
    result = changed(DarknetColour(1.5, 1.5, 0.0), image, seed)
    assert np.abs(result - darknet(image, 0.0, *factors)).max() <= 0.51


@pytest.mark.parametrize("seed", range(4))
def test_darknet_turns_the_hue(seed):
    """Up to the two degrees of OpenCV's 8-bit hue and the rounding of its saturation."""
    image = colours()
    hue = np.random.default_rng(seed).uniform(-0.1, 0.1)
    result = changed(DarknetColour(1.0, 1.0, 0.1), image, seed)
    difference = np.abs(result - darknet(image, hue, 1.0, 1.0))
    assert difference.max() <= 12
    assert difference.mean() < 2


def test_half_of_the_factors_are_inverse():
    image = np.full((1, 1, 3), 120, np.uint8)
    levels = np.array([changed(DarknetColour(1, 1.5, 0), image, s)[0, 0, 0] for s in range(400)])
    assert levels.min() == 80
    assert levels.max() == 180
    assert abs((levels > 120).sum() - 200) < 5 * 10 + 4


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: PhotometricDistortion(brightness=300), id="brightness"),
        pytest.param(lambda: PhotometricDistortion(hue=91), id="hue"),
        pytest.param(lambda: PhotometricDistortion(contrast=(2, 1)), id="contrast"),
        pytest.param(lambda: PhotometricDistortion(saturation=(-1, 1)), id="saturation"),
        pytest.param(lambda: PhotometricDistortion(probability=7), id="probability"),
        pytest.param(lambda: DarknetColour(saturation=0.5), id="below 1"),
        pytest.param(lambda: DarknetColour(hue=0.6), id="more than half a circle"),
    ],
)
def test_impossible_arguments_are_refused(make):
    with pytest.raises(UserError):
        make()
