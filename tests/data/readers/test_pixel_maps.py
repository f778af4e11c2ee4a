"""From a number per pixel to objects, void and label PNGs."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco_mask

from lit_detseg.data.packing.checks import rle_fault
from lit_detseg.data.readers.pixel_maps import label_map_png, open_png, regions, void_mask

number_maps = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays.arrays(np.int32, shape, elements=st.sampled_from([0, 1, 2, 26001]))
)


@given(number_maps)
def test_regions_are_the_pixels_of_each_number(numbers):
    found = regions(numbers, {1, 2, 26001, 5})

    assert list(found) == [value for value in (1, 2, 26001) if (numbers == value).any()]
    for value, region in found.items():
        pixels = numbers == value
        # Byte for byte what pycocotools makes of the pixels themselves.
        encoded = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
        assert region.mask == {"size": [*pixels.shape], "counts": encoded["counts"].decode()}
        assert rle_fault(region.mask) is None
        assert region.area == pixels.sum()
        rows, columns = np.nonzero(pixels)
        tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert region.box == tight


def test_void_is_a_mask_or_nothing():
    is_void = np.zeros((3, 4), bool)
    assert void_mask(is_void) is None
    is_void[1, 2] = True
    np.testing.assert_array_equal(coco_mask.decode(void_mask(is_void)), is_void)


def test_a_label_png_holds_entries_and_names_what_it_cannot_translate():
    numbers = np.array([[7, 7, 8], [8, 0, 99]], np.uint8)

    png, faults = label_map_png(numbers, {0: 255, 7: 0, 8: 1}, "a.png")

    picture = Image.open(io.BytesIO(png))
    assert picture.mode == "L"
    assert np.asarray(picture).tolist() == [[0, 0, 1], [1, 255, 255]]
    assert [str(fault) for fault in faults] == ["a.png: unknown pixel class: value 99 on 1 pixels"]


def test_a_png_is_read_to_its_end_or_refused(tmp_path):
    path = tmp_path / "a.png"
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (50, 50), dtype=np.uint8)).save(path)
    assert open_png(path).size == (50, 50)
    content = path.read_bytes()
    for broken in (b"", b"text", content[:20], content[:1000], content[:60] + b"!" + content[61:]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"\w"):
            open_png(path)
    with pytest.raises(FileNotFoundError):
        open_png(tmp_path / "b.png")
