"""Changes of colour: boxes and masks stay as they are."""

import cv2
import numpy as np

from lit_detseg.data.transforms.base import Sample, Transform
from lit_detseg.data.transforms.geometry import check_range
from lit_detseg.data.transforms.visible import check_fraction
from lit_detseg.structures import UserError

LEVELS = np.arange(256)
HUES = 180  # OpenCV's 8-bit hue counts in steps of 2 degrees


class PhotometricDistortion(Transform):
    """SSD's distortion of colours (arXiv:1512.02325, section 2.2; the authors' Caffe code).

    Each of the four with its probability: add to the brightness; multiply the contrast, the
    saturation; turn the hue. Contrast comes second or last, with equal chances. As in the
    original, pixels are 8-bit numbers in between, and saturate. Different from it: a hue beyond
    the end of the scale comes round, where OpenCV's arithmetic got stuck at 0. The exchange of
    channels, which the authors' script leaves off, is left out.

    Args:
        brightness: levels of 255 added at most, or subtracted.
        contrast: least and largest factor of all levels.
        saturation: least and largest factor.
        hue: largest turn either way, in OpenCV's steps of 2 degrees.
        probability: of each of the four.
    """

    def __init__(
        self,
        brightness: float = 32,
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: float = 18,
        probability: float = 0.5,
    ) -> None:
        if not 0 <= brightness <= 255 or not 0 <= hue <= HUES / 2:
            raise UserError(
                f"PhotometricDistortion(brightness={brightness}, hue={hue}): give 0 to 255 and "
                f"0 to {HUES // 2}."
            )
        self.brightness = brightness
        self.contrast = check_range("PhotometricDistortion: contrast", contrast)
        self.saturation = check_range("PhotometricDistortion: saturation", saturation)
        self.hue = hue
        self.probability = check_fraction("PhotometricDistortion: probability", probability)

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Distort the colours."""
        # Everything is drawn at once, so that no choice moves another one's numbers.
        brighten, stretch, saturate, turn = random.random(4) < self.probability
        contrast_first = random.random() < 0.5
        added = random.uniform(-self.brightness, self.brightness)
        contrast = random.uniform(*self.contrast)
        saturation = random.uniform(*self.saturation)
        hue = random.uniform(-self.hue, self.hue)
        first, last = LEVELS.astype(np.uint8), None
        if brighten:
            first = _levels(LEVELS + added)
        if stretch and contrast_first:
            first = _levels(first * contrast)
        elif stretch:
            last = _levels(LEVELS * contrast)
        image = sample.image
        if brighten or (stretch and contrast_first):
            image = cv2.LUT(image, first)
        if saturate or turn:
            image = _in_hsv(image, hue if turn else 0.0, saturation if saturate else 1.0)
        return sample._replace(image=image if last is None else cv2.LUT(image, last))


class DarknetColour(Transform):
    """Darknet's distortion of colours (src/image.c, random_distort_image).

    Saturation and exposure (the value of HSV) are each multiplied by a factor drawn uniformly
    from [1, s] or, with equal chances, by its inverse; the hue is turned by up to `hue` of a
    circle either way. YOLO trains with 1.5, 1.5 and 0.1. Darknet does it after its letterbox, so
    that the grey margins change too.

    Args:
        saturation: largest factor s, from 1.
        exposure: likewise.
        hue: of a full circle, in [0, 0.5].
    """

    def __init__(self, saturation: float = 1.5, exposure: float = 1.5, hue: float = 0.1) -> None:
        if min(saturation, exposure) < 1 or not 0 <= hue <= 0.5:
            raise UserError(
                f"DarknetColour(saturation={saturation}, exposure={exposure}, hue={hue}): give "
                "two factors from 1 and a turn from 0 to 0.5."
            )
        self.saturation = saturation
        self.exposure = exposure
        self.hue = hue

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Distort the colours."""
        hue = random.uniform(-self.hue, self.hue)
        saturation = _factor(self.saturation, random)
        exposure = _factor(self.exposure, random)
        image = _in_hsv(sample.image, hue * HUES, 1.0) if self.hue else sample.image
        # At one hue, HSV's saturation is the distance of each channel from the largest one, and
        # the value a factor: linear in RGB, and rounded and clipped once, at the end.
        if saturation != 1 or exposure != 1:
            largest = _largest(image)
            image = cv2.addWeighted(
                image, saturation * exposure, largest, (1 - saturation) * exposure, 0
            )
        return sample._replace(image=image)


def _in_hsv(image: np.ndarray, hue: float, saturation: float) -> np.ndarray:
    """Turn the hue, in OpenCV's steps, and multiply the saturation."""
    turned = (np.round(LEVELS + hue) % HUES).astype(np.uint8)
    tables = np.stack([turned, _levels(LEVELS * saturation), LEVELS.astype(np.uint8)], axis=1)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), tables[None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _levels(values: np.ndarray) -> np.ndarray:
    """Rounded and saturated, as OpenCV's 8-bit arithmetic does."""
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _largest(image: np.ndarray) -> np.ndarray:
    """(H, W, 3): at each pixel the largest of its channels, three times."""
    red, green, blue = cv2.split(image)
    return cv2.merge([cv2.max(cv2.max(red, green), blue)] * 3)


def _factor(largest: float, random: np.random.Generator) -> float:
    """Darknet's rand_scale."""
    factor, up = random.uniform(1, largest), random.random() < 0.5
    return factor if up else 1 / factor
