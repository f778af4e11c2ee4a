"""Images that stand twice, planted among images that look like no other."""

from dataclasses import replace

import cv2
import numpy as np

from lit_detseg.data.images import EncodedImage
from lit_detseg.data.verification.duplicates import NEIGHBOURS, near_images
from lit_detseg.data.verification.fingerprints import FINGERPRINT, fingerprint
from tests.data.verification.crafted import findings, picture, png, sample, write_set

FIRST = "shard-000000.tar"


def showing(key, image):
    """A sample with this image."""
    one = sample(key, 0)
    size = {"height": image.height, "width": image.width}
    return one._replace(image=image, record=replace(one.record, **size))


def others(name, first):
    return [sample(f"{name}{number}", first + number) for number in range(4)]


def encoded(pixels, form=".jpg", *options):
    data = cv2.imencode(form, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1].tobytes()
    return EncodedImage(data, form[1:], *pixels.shape[:2])


def test_images_that_look_like_no_other_have_no_finding(tmp_path):
    samples = [sample(f"{number:04}", number) for number in range(300)]
    assert findings(write_set(tmp_path / "set", samples, per_shard=300)) == []


def test_the_same_file_and_the_same_pixels_in_one_set(tmp_path):
    copies = [
        showing("x-file", png(picture(0))),
        showing("x-pixels", encoded(picture(1), ".png", cv2.IMWRITE_PNG_COMPRESSION, 0)),
    ]
    folder = write_set(tmp_path / "set", others("a", 0) + copies, per_shard=4)
    assert findings(folder) == [
        ("duplicate_image", "shard-000001.tar", "x-file", ""),
        ("duplicate_image", "shard-000001.tar", "x-pixels", ""),
    ]


def test_the_same_image_in_two_sets(tmp_path):
    train = write_set(tmp_path / "train", others("a", 0))
    val = write_set(tmp_path / "val", [*others("b", 10), showing("x", png(picture(2)))], 9)
    assert findings(train, val) == [("image_in_two_sets", FIRST, "x", "")]
    assert findings(val, train) == [("image_in_two_sets", "shard-000001.tar", "a2", "")]


def test_an_image_twice_in_each_of_two_sets_is_one_finding_of_the_two(tmp_path):
    twice = [showing("x", png(picture(2))), showing("y", png(picture(2)))]
    train = write_set(tmp_path / "train", twice)
    val = write_set(tmp_path / "val", twice)
    assert findings(train, val) == [
        ("duplicate_image", FIRST, "y", ""),
        ("duplicate_image", FIRST, "y", ""),
        ("image_in_two_sets", FIRST, "x", ""),
    ]


def test_an_image_encoded_anew_and_one_scaled_are_near_duplicates(tmp_path):
    again = encoded(picture(1), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 60)
    small = png(cv2.resize(picture(2), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA))
    train = write_set(tmp_path / "train", [*others("a", 0), showing("z", again)], 9)
    val = write_set(tmp_path / "val", [*others("b", 10), showing("x", small)], 9)
    assert findings(train, val) == [
        ("near_duplicate_image", FIRST, "z", ""),
        ("near_duplicate_in_two_sets", FIRST, "x", ""),
    ]


def test_a_copy_has_no_near_duplicates_of_its_own(tmp_path):
    near = encoded(picture(1), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 60)
    samples = [*others("a", 0), showing("x", near), showing("y", near)]
    assert findings(write_set(tmp_path / "set", samples, 9)) == [
        ("duplicate_image", FIRST, "y", ""),
        ("near_duplicate_image", FIRST, "x", ""),
    ]


def test_flat_images_are_not_compared_by_their_look(tmp_path):
    flat = [np.full((40, 60, 3), value, np.uint8) for value in (100, 101)]
    samples = [showing(f"{number}", png(one)) for number, one in enumerate(flat)]
    assert findings(write_set(tmp_path / "set", samples)) == []


def prints_of(patterns):
    """Fingerprints of these patterns, of images that look the same and are different."""
    prints = np.zeros(len(patterns), FINGERPRINT)
    prints["pattern"] = patterns
    prints["pixels"][:, :8] = np.arange(len(patterns), dtype=np.int64).view(np.uint8).reshape(-1, 8)
    prints["look"] = np.linspace(0, 255, 72).astype(np.uint8)
    return prints


def test_three_of_64_bits_may_differ_wherever_they_are():
    base = np.uint64(0x0123456789ABCDEF)
    for bits in ([0, 21, 42], [5, 6, 7], [15, 16, 63], [31, 32, 48]):
        other = base ^ np.bitwise_or.reduce(np.uint64(1) << np.array(bits, np.uint64))
        pairs = near_images(prints_of([base, other]), np.zeros(2, np.int64))
        assert [(twins.first, twins.second) for twins in pairs] == [(0, 1)]
    far = base ^ np.uint64(0x1111)
    assert near_images(prints_of([base, far]), np.zeros(2, np.int64)) == []


def test_near_images_equal_those_of_all_pairs():
    generator = np.random.default_rng(0)
    base = generator.integers(0, 2**63, 60, dtype=np.uint64)
    flips = np.uint64(1) << generator.integers(0, 64, (4, 60), dtype=np.uint64)
    patterns = np.concatenate([base, base ^ flips[0] ^ flips[1], base ^ flips[2] ^ flips[3]])
    sets = np.repeat([0, 1, 1], 60)

    found = {(one.first, one.second) for one in near_images(prints_of(patterns), sets)}

    def are_near(first, second):
        return bin(int(patterns[first] ^ patterns[second])).count("1") <= 3

    assert all(are_near(*pair) for pair in found)
    assert {(second, sets[first]) for first, second in found} == {
        (second, sets[first])
        for second in range(len(patterns))
        for first in range(second)
        if are_near(first, second)
    }
    assert len(found) > 100


def test_many_equal_patterns_take_time_in_proportion():
    """Each is compared with its neighbours alone, and is still found."""
    count = 20 * NEIGHBOURS
    pairs = near_images(prints_of(np.zeros(count, np.uint64)), np.zeros(count, np.int64))
    assert [twins.second for twins in pairs] == list(range(1, count))


def test_the_fingerprint_tells_shape_and_pixels_apart():
    tall = np.arange(72, dtype=np.uint8).reshape(6, 4, 3)
    wide = tall.reshape(4, 6, 3)
    one, other = (fingerprint(0, b"same", pixels) for pixels in (tall, wide))
    assert (one["file"] == other["file"]).all()
    assert (one["pixels"] != other["pixels"]).any()
