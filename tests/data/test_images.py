"""What shards may hold, against PIL as the other decoder."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from lit_detseg.data import images
from lit_detseg.data.images import EXIF_ORIENTATION, decode, encode_png, normalise

HEIGHT, WIDTH = 30, 40


def smooth_rgb(height=HEIGHT, width=WIDTH):
    corners = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)


def saved(picture, form, **options):
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def as_pil(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


RGB = Image.fromarray(smooth_rgb())
ALPHA = Image.fromarray(np.tile(np.arange(WIDTH, dtype=np.uint8) * 6, (HEIGHT, 1)))
RGBA = RGB.copy()
RGBA.putalpha(ALPHA)

UNCHANGED = {
    "JPEG, RGB": (saved(RGB, "JPEG", quality=90), "jpg"),
    "JPEG, progressive": (saved(RGB, "JPEG", progressive=True), "jpg"),
    "JPEG, full chroma": (saved(RGB, "JPEG", subsampling=0), "jpg"),
    "JPEG, stored as RGB": (saved(RGB, "JPEG", keep_rgb=True), "jpg"),
    "JPEG, grey": (saved(RGB.convert("L"), "JPEG"), "jpg"),
    "PNG, RGB": (saved(RGB, "PNG"), "png"),
    "PNG, RGBA": (saved(RGBA, "PNG"), "png"),
    "PNG, grey": (saved(RGB.convert("L"), "PNG"), "png"),
    "PNG, grey and alpha": (saved(RGBA.convert("LA"), "PNG"), "png"),
    "PNG, palette": (saved(RGB.convert("P"), "PNG"), "png"),
    "PNG, palette with a clear colour": (saved(RGB.convert("P"), "PNG", transparency=3), "png"),
}
CONVERTED = {
    "JPEG, CMYK": saved(RGB.convert("CMYK"), "JPEG", quality=95),
    "PNG, one bit": saved(RGB.convert("1"), "PNG"),
    "PNG, four bits": saved(RGB.quantize(16), "PNG", bits=4),
    "BMP": saved(RGB, "BMP"),
    "TIFF": saved(RGB, "TIFF"),
    "WEBP": saved(RGB, "WEBP", lossless=True),
    "GIF": saved(RGB.convert("P"), "GIF"),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_every_decoder_agrees_on_is_stored_unchanged(name):
    data, suffix = UNCHANGED[name]

    stored = normalise(data, (HEIGHT, WIDTH))

    assert stored == (data, suffix, HEIGHT, WIDTH)
    assert np.abs(decode(stored.data) - as_pil(data)).max() <= 1


@pytest.mark.parametrize("name", CONVERTED)
def test_all_else_becomes_an_rgb_png_of_the_same_pixels(name):
    stored = normalise(CONVERTED[name], (HEIGHT, WIDTH))

    assert (stored.suffix, stored.height, stored.width) == ("png", HEIGHT, WIDTH)
    assert Image.open(io.BytesIO(stored.data)).mode == "RGB"
    np.testing.assert_array_equal(decode(stored.data), as_pil(CONVERTED[name]))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_high_byte(form):
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 54

    stored = normalise(saved(Image.fromarray(values), form), None)

    np.testing.assert_array_equal(decode(stored.data)[..., 1], values // 256)


def test_16_bit_colour_keeps_its_high_byte():
    values = smooth_rgb().astype(np.uint16) * 256 + 77
    data = cv2.imencode(".png", values[..., ::-1])[1].tobytes()

    np.testing.assert_array_equal(decode(normalise(data, None).data), values // 256)


def test_pixels_are_rgb_and_alpha_is_dropped():
    clear_red = np.zeros((2, 2, 4), np.uint8) + np.array([255, 0, 10, 0], np.uint8)

    pixels = decode(saved(Image.fromarray(clear_red), "PNG"))

    assert pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == [255, 0, 10]


def test_encoding_a_png_loses_nothing():
    pixels = smooth_rgb()
    np.testing.assert_array_equal(decode(encode_png(pixels)), pixels)


def with_orientation(orientation, height=HEIGHT, width=WIDTH):
    """A PNG (no loss) whose stored pixels are `smooth_rgb`, with an EXIF orientation."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return saved(Image.fromarray(smooth_rgb(height, width)), "PNG", exif=exif)


@pytest.mark.parametrize(
    ("orientation", "annotated", "turned"),
    [
        pytest.param(6, (WIDTH, HEIGHT), True, id="the annotated size is the turned one"),
        pytest.param(6, (HEIGHT, WIDTH), False, id="the annotated size is the stored one"),
        pytest.param(6, None, True, id="no size annotated: annotators saw it upright"),
        pytest.param(3, (HEIGHT, WIDTH), True, id="upside down: both sizes fit"),
        pytest.param(1, (HEIGHT, WIDTH), False, id="upright already"),
    ],
)
def test_exif_orientation_follows_the_annotated_size(orientation, annotated, turned):
    data = with_orientation(orientation)
    quarter_turns_clockwise = {1: 0, 3: 2, 6: 1}[orientation]

    stored = normalise(data, annotated)

    assert (stored.data == data) is not turned
    expected = np.rot90(smooth_rgb(), -quarter_turns_clockwise if turned else 0)
    np.testing.assert_array_equal(decode(stored.data), expected)
    assert (stored.height, stored.width) == expected.shape[:2]


def test_a_square_is_turned():
    stored = normalise(with_orientation(8, 20, 20), (20, 20))
    np.testing.assert_array_equal(decode(stored.data), np.rot90(smooth_rgb(20, 20)))


JPEG = UNCHANGED["JPEG, RGB"][0]
PNG = UNCHANGED["PNG, RGB"][0]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>404</html>", id="a web page"),
        pytest.param(JPEG[: len(JPEG) // 3], id="a third of a JPEG"),
        pytest.param(JPEG[:-20], id="a JPEG without its last bytes"),
        pytest.param(PNG[:-40], id="a PNG without its last bytes"),
        pytest.param(PNG[: len(PNG) // 2] + b"\0" * 9 + PNG[len(PNG) // 2 + 9 :], id="a PNG hole"),
        pytest.param(saved(Image.new("F", (8, 8)), "TIFF"), id="floating-point pixels"),
    ],
)
def test_what_cannot_be_decoded_is_refused(data):
    with pytest.raises(ValueError, match=r"\w+"):
        normalise(data, None)


@pytest.mark.parametrize("data", [b"", b"no image", PNG[:-40]])
def test_decode_says_that_bytes_are_no_image(data):
    with pytest.raises(ValueError, match="empty|not an image"):
        decode(data)


def textured_jpeg(**options):
    """Enough data that there is a middle to damage."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    return saved(Image.fromarray(noise), "JPEG", quality=85, **options)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_hole_in_the_middle_of_a_jpeg_is_found(progressive):
    data = textured_jpeg(progressive=progressive)
    middle = len(data) // 2
    damaged = data[:middle] + b"\0" * 200 + data[middle + 200 :]
    as_pil(damaged)  # PIL fills the hole without a word

    for read in (decode, lambda damaged: normalise(damaged, None)):
        with pytest.raises(ValueError, match=r"\w+"):
            read(damaged)
    decode(data)


def test_a_damaged_jpeg_is_found_where_it_has_to_be_turned_or_converted_too():
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    sideways = textured_jpeg(exif=exif)
    noise = np.random.default_rng(1).integers(0, 256, (120, 160, 4), dtype=np.uint8)
    cmyk = saved(Image.fromarray(noise, "CMYK"), "JPEG", quality=85)
    for data in (sideways, cmyk):
        assert normalise(data, None).suffix == "png"
        middle = len(data) // 2
        with pytest.raises(ValueError, match=r"\w+"):
            normalise(data[:middle] + b"\0" * 200 + data[middle + 200 :], None)


@pytest.mark.parametrize("cut", [2, 20, 2000])
def test_decode_refuses_a_jpeg_that_ends_early(cut):
    with pytest.raises(ValueError, match=r"\w+"):
        decode(textured_jpeg()[:-cut])


@pytest.mark.parametrize("name", [name for name in UNCHANGED if name.startswith("JPEG")])
def test_jpegs_read_the_same_without_simplejpeg(name, monkeypatch):
    data = UNCHANGED[name][0]
    usual = decode(data).astype(int)
    np.testing.assert_array_equal(usual, as_pil(data))
    monkeypatch.setattr(images, "simplejpeg", None)
    assert np.abs(decode(data) - usual).max() <= 1
