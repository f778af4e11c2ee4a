"""Image files of a page: what a browser shows is what the decoder gives."""

import io

import numpy as np
import pytest
from PIL import Image

from lit_detseg.data.images import EXIF_ORIENTATION, decode
from lit_detseg.reports.page_images import class_colours, write_classes, write_pixels, write_stored
from lit_detseg.structures import LabelMap
from tests.data.shard_sets import raw_sample, write_shards
from tests.reports.page_sets import write_page

WIDE = np.zeros((20, 30, 3), np.uint8)
WIDE[:, 15:] = (200, 100, 0)


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_small_files_stay_as_they_are(tmp_path, kind):
    data = encoded(Image.fromarray(WIDE), kind)
    name = write_stored(data, decode(data), 30, tmp_path / "0")
    assert (tmp_path / name).read_bytes() == data
    assert name == ("0.jpg" if kind == "JPEG" else "0.png")


def turned():
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    return encoded(Image.fromarray(WIDE), "JPEG", exif=exif)


def transparent():
    alpha = np.full((*WIDE.shape[:2], 1), 40, np.uint8)
    return encoded(Image.fromarray(np.concatenate([WIDE, alpha], axis=2)), "PNG")


@pytest.mark.parametrize("make", [turned, transparent])
def test_what_browsers_obey_and_the_decoder_ignores_is_left_out(tmp_path, make):
    data = make()
    name = write_stored(data, decode(data), 480, tmp_path / "0")
    written = Image.open(tmp_path / name)
    assert written.getexif().get(EXIF_ORIENTATION) is None
    assert (written.mode, written.size) == ("RGB", (30, 20))
    difference = np.asarray(written).astype(int) - decode(data)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        pytest.param(1000, 2000, (240, 480), id="wide"),
        pytest.param(960, 10, (480, 5), id="narrow"),
        pytest.param(9, 7, (9, 7), id="small ones are not enlarged"),
    ],
)
def test_the_longer_side_is_bounded(tmp_path, height, width, size):
    name = write_pixels(np.zeros((height, width, 3), np.uint8), 480, tmp_path / "0")
    assert Image.open(tmp_path / name).size[::-1] == size


def test_classes_of_pixels_have_the_colours_of_their_class(tmp_path):
    colours = class_colours(LabelMap(("road", "sky")))
    label = np.array([[0, 1], [255, 1]], np.uint8)
    name = write_classes(label, colours, 480, tmp_path / "0-classes")
    shown = np.asarray(Image.open(tmp_path / name).convert("RGBA"))
    assert shown[0, 0].tolist() == [*colours[0], 255]
    assert shown[0, 1].tolist() == shown[1, 1].tolist() == [*colours[1], 255]
    assert shown[1, 0, 3] == 0


def test_a_class_keeps_its_colour_and_neighbours_differ():
    names = tuple(f"class {number}" for number in range(80))
    colours = np.array(class_colours(LabelMap(names)))
    assert colours[:3].tolist() == [list(c) for c in class_colours(LabelMap(names[:3]))]
    assert len(np.unique(colours, axis=0)) == 80
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 100


def test_large_and_narrow_images_fit(browser, tmp_path):
    sizes = {"huge": (3000, 4500), "narrow": (900, 90), "wide": (50, 900)}
    samples = [raw_sample(key, np.zeros((*size, 3), np.uint8)) for key, size in sizes.items()]
    shards = write_shards(tmp_path / "set", samples)
    browser.open(write_page(shards, tmp_path / "page"))
    for key, (height, width) in sizes.items():
        shown = browser.one(f".card[data-key='{key}'] .picture").rect
        assert shown["width"] / shown["height"] == pytest.approx(width / height, rel=0.05)
        stored = browser.one(f".card[data-key='{key}'] img")
        assert (
            max(
                browser.driver.execute_script(
                    "return [arguments[0].naturalWidth, arguments[0].naturalHeight]", stored
                )
            )
            == 480
        )
