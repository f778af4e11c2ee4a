"""Verifying whole sets: nothing in clean ones, and every planted fault of images and index."""

import os
import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lit_detseg.data.images import EncodedImage
from lit_detseg.data.index import ShardIndex
from lit_detseg.data.packing.outcome import PixelClasses
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.data.verification import samples as samples_file
from lit_detseg.data.verification.verify import verify
from lit_detseg.structures import UserError
from tests.data.verification.crafted import (
    CAT,
    DOG,
    HEIGHT,
    WIDTH,
    clean_samples,
    findings,
    found_in,
    picture,
    png,
    rewrite_index,
    rle,
    sample,
    write_set,
)

FIRST = "shard-000000.tar"


def grey_png(values):
    """A label map as PNG."""
    return cv2.imencode(".png", values)[1].tobytes()


def with_pixels(values=None, data=None, counts=None):
    """Clean samples with label maps; the second one's is as given."""
    good = np.zeros((HEIGHT, WIDTH), np.uint8)
    good[:10], good[10:20] = 1, 255
    right = {0: 20 * WIDTH, 1: 10 * WIDTH}
    pixels = [PixelClasses(grey_png(good), right) for _ in range(3)]
    if values is not None or data is not None or counts is not None:
        stored = data if data is not None else grey_png(good if values is None else values)
        pixels[1] = PixelClasses(stored, right if counts is None else counts)
    pairs = zip(clean_samples(), pixels, strict=True)
    return [one._replace(pixels=of_pixels) for one, of_pixels in pairs]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_clean_set_has_no_finding(tmp_path, workers):
    folder = write_set(tmp_path / "set", clean_samples())
    report = verify([folder], workers)
    assert found_in(report) == []
    assert report.is_clean
    assert (report.images, report.files) == (3, 2)


def test_what_pack_writes_is_clean(tmp_path):
    for name, seed in (("train", 0), ("val", 1)):
        pack(ShapesReader(40, seed, size=64), tmp_path / name, samples_per_shard=9)
    done = []
    report = verify([tmp_path / "train", tmp_path / "val"], 2, lambda *now: done.append(now))
    assert found_in(report) == []
    assert done[-1] == (80, 80)
    assert done == sorted(done)


def test_label_maps_without_a_fault_have_no_finding(tmp_path):
    report = verify([write_set(tmp_path / "set", with_pixels())], 0)
    assert found_in(report) == []
    assert report.sets[0]["pixels"] == {"cat": 3 * 20 * WIDTH, "dog": 3 * 10 * WIDTH}


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        ({"values": np.zeros((HEIGHT, WIDTH + 1), np.uint8)}, "wrong_labels_size"),
        ({"values": np.full((HEIGHT, WIDTH), 2, np.uint8)}, "unknown_pixel_class"),
        ({"values": np.zeros((HEIGHT, WIDTH, 3), np.uint8)}, "unreadable_labels"),
        ({"values": np.zeros((HEIGHT, WIDTH), np.uint16)}, "unreadable_labels"),
        ({"data": b"no picture"}, "unreadable_labels"),
        ({"counts": {0: 20 * WIDTH, 1: 10 * WIDTH - 1}}, "wrong_pixel_counts"),
        ({"counts": {}}, "wrong_pixel_counts"),
    ],
)
def test_a_bad_label_map_is_found(tmp_path, pixels, kind):
    folder = write_set(tmp_path / "set", with_pixels(**pixels))
    (found,) = findings(folder)
    assert found[:3] == (kind, FIRST, "b")


def jpeg(pixels):
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def bad_crc(data):
    """A PNG whose pixels' checksum is wrong."""
    at = data.index(b"IDAT") - 4
    (size,) = struct.unpack(">I", data[at : at + 4])
    wrong = zlib.crc32(data[at + 4 : at + 8 + size]) ^ 1
    return data[: at + 8 + size] + struct.pack(">I", wrong) + data[at + 12 + size :]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"GIF89a nothing more", id="no image"),
        pytest.param(png(picture(1)).data[:200], id="PNG cut short"),
        pytest.param(bad_crc(png(picture(1)).data), id="PNG damaged"),
        pytest.param(jpeg(picture(1))[:300], id="JPEG cut short"),
    ],
)
def test_an_unreadable_image_is_found_and_hides_nothing(tmp_path, data):
    samples = clean_samples()
    bad = replace(CAT, area=0.0)
    samples[1] = sample("b", 1, bad)._replace(image=EncodedImage(data, "png", HEIGHT, WIDTH))

    report = verify([write_set(tmp_path / "set", samples)], 0)

    assert found_in(report) == [
        ("unreadable_image", FIRST, "b", ""),
        ("bad_area", FIRST, "b", "object 7 (cat)"),
    ]
    assert (report.sets[0]["images"], report.sets[0]["unreadable_images"]) == (2, 1)
    assert report.findings.bad_images == {(str(tmp_path / "set"), "b")}


def test_an_index_with_the_wrong_image_size_is_found(tmp_path):
    folder = write_set(tmp_path / "set", clean_samples())
    sizes = ShardIndex.read(folder).sizes
    sizes[1] = (HEIGHT, WIDTH + 1)
    rewrite_index(folder, sizes=sizes)
    assert findings(folder) == [("wrong_image_size", FIRST, "b", "")]


def test_wrong_class_counts_are_found(tmp_path):
    counts = ({0: 1, 1: 1}, {1: 1}, {1: 1})
    folder = write_set(tmp_path / "set", clean_samples(), class_counts=counts)
    assert findings(folder) == [("wrong_class_counts", FIRST, "b", "")]


def test_wrong_numbers_of_samples_are_found(tmp_path):
    folder = write_set(tmp_path / "set", clean_samples())
    shards = ShardIndex.read(folder).shards
    rewrite_index(folder, shards=(replace(shards[0], samples=3), shards[1]))
    assert findings(folder) == [("wrong_sample_count", FIRST, "", "")]


def test_a_key_that_stands_twice_is_found(tmp_path):
    samples = clean_samples()
    samples[2] = sample("a", 2, DOG)
    folder = write_set(tmp_path / "set", samples)
    assert findings(folder) == [("duplicate_key", "shard-000001.tar", "a", "")]


def test_an_extent_that_leads_elsewhere_is_found(tmp_path):
    folder = write_set(tmp_path / "set", clean_samples())
    image = ShardIndex.read(folder).image
    image.offset[1] = 10**9
    rewrite_index(folder, image=image)
    assert findings(folder) == [
        ("wrong_members", FIRST, "", ""),  # "b" is not where the index says
        ("wrong_members", FIRST, "", ""),  # and what is there, the index does not name
        ("unreadable_image", FIRST, "b", ""),
    ]


def test_a_missing_shard_costs_no_other(tmp_path):
    samples = clean_samples()
    samples[2] = sample("c", 2, replace(DOG, area=0.0))
    folder = write_set(tmp_path / "set", samples)
    (folder / FIRST).unlink()

    report = verify([folder], 0)

    assert found_in(report) == [
        ("missing_file", FIRST, "", ""),
        ("bad_area", "shard-000001.tar", "c", "object d (dog)"),
    ]
    assert (report.sets[0]["images"], report.sets[0]["images_not_checked"]) == (1, 2)


def test_a_shard_that_is_deleted_halfway_is_one_finding(tmp_path):
    folder = write_set(tmp_path / "set", [sample(f"{k:03}", k) for k in range(100)], per_shard=100)

    def delete(done, total):
        if done:  # the first 32
            (folder / FIRST).unlink(missing_ok=True)

    report = verify([folder], 0, delete)

    assert [one for one in found_in(report) if one[0] != "near_duplicate_image"] == [
        ("missing_file", FIRST, "", "")
    ]
    assert report.sets[0]["images_not_checked"] == 100 - 32


def test_an_unforeseen_error_is_a_finding_of_its_sample(tmp_path, monkeypatch):
    check_record = samples_file.check_record

    def fail_on_b(data, key, *rest):
        if key == "b":
            raise RuntimeError("not thought of")
        return check_record(data, key, *rest)

    monkeypatch.setattr(samples_file, "check_record", fail_on_b)
    samples = clean_samples()
    samples[2] = sample("c", 2, replace(DOG, area=0.0))
    folder = write_set(tmp_path / "set", samples)

    assert findings(folder) == [
        ("check_failed", FIRST, "b", ""),
        ("bad_area", "shard-000001.tar", "c", "object d (dog)"),
    ]


def test_a_decoder_that_ends_its_process_costs_only_its_job(tmp_path, monkeypatch):
    decode = samples_file.decode

    def end_on_b(data):
        if data == png(picture(1)).data:
            os._exit(9)
        return decode(data)

    monkeypatch.setattr(samples_file, "decode", end_on_b)  # forked processes inherit it
    samples = clean_samples()
    samples[2] = sample("c", 2, replace(DOG, area=0.0))
    folder = write_set(tmp_path / "set", samples)

    report = verify([folder], 2)

    assert found_in(report) == [
        ("check_failed", FIRST, "", ""),
        ("bad_area", "shard-000001.tar", "c", "object d (dog)"),
    ]
    assert report.sets[0]["images_not_checked"] == 2


def test_processes_find_the_same_in_the_same_order(tmp_path):
    bad = [sample(f"{k:03}", k, replace(CAT, area=0.0), DOG) for k in range(70)]
    folder = write_set(tmp_path / "set", bad, per_shard=40)
    here, there = verify([folder], 0), verify([folder], 2)
    assert here.to_json() == there.to_json()
    assert here.findings.counts["bad_area"] == 70


def test_the_facts_are_those_of_the_records(tmp_path):
    crowd = replace(
        DOG,
        box=(0.0, 0.0, 60.0, 40.0),
        area=2400.0,
        is_crowd=True,
        is_difficult=True,
        mask=rle(0, WIDTH),
    )
    samples = [sample("a", 0, CAT, DOG, crowd), sample("b", 1)]
    (facts,) = verify([write_set(tmp_path / "set", samples)], 0).sets
    assert facts["objects"] == 3
    assert facts["classes"] == {
        "cat": {"objects": 1, "images": 1},
        "dog": {"objects": 2, "images": 1},
    }
    assert facts["object_sizes"] == {"small": 2, "medium": 1, "large": 0}
    assert facts["object_sides"] == {"16": 2, "32": 1}  # areas 400, 300 and 2400
    assert facts["objects_per_image"] == {"min": 0, "median": 0, "mean": 1.5, "max": 3}
    assert facts["image_sizes"] == [{"height": 40, "width": 60, "images": 2}]
    assert (facts["crowd"], facts["difficult"], facts["truncated"]) == (1, 1, 0)
    assert facts["masks"] == {"polygons": 1, "rle": 1}
    assert facts["empty_images"] == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param('{"format"', "{", "not valid JSON", id="no JSON"),
        pytest.param('"keys"', '"x"', "", id="unchanged"),
        pytest.param('"size":[[40,60],', '"size":[[40],', "contradicts itself", id="ragged"),
        pytest.param('"key":["a",', '"key":[', "different lengths", id="one key less"),
        pytest.param('"shard":[0,0,1]', '"shard":[0,0,2]', "none of its 2", id="no such shard"),
    ],
)
def test_an_index_that_cannot_be_used_is_one_message(tmp_path, old, new, message):
    folder = write_set(tmp_path / "set", clean_samples())
    index = folder / "index.json"
    index.write_text(index.read_text().replace(old, new, 1))
    if not message:
        assert findings(folder) == []
        return
    with pytest.raises(UserError, match=message):
        verify([folder], 0)


def test_wrong_calls_are_explained(tmp_path):
    folder = write_set(tmp_path / "set", clean_samples())
    with pytest.raises(UserError, match="name each shard set once"):
        verify([folder, folder / ".." / "set"], 0)
    with pytest.raises(UserError, match="--workers -1"):
        verify([folder], -1)
    with pytest.raises(UserError, match="is not a shard set"):
        verify([tmp_path], 0)
