"""Shards of shards: nothing is lost, nothing is changed."""

import io

import numpy as np
import pytest
from PIL import Image

from lit_detseg.data.index import ShardIndex, index_sha256
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.data.readers.shard_sets import ShardSetReader
from lit_detseg.data.records import Object, RawSample
from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap
from tests.data.packing.test_label_png import grey
from tests.data.shard_sets import ListReader, raw_sample, write_numbered, write_shards

VOID = {"size": [4, 5], "counts": [3, 4, 13]}


def tars(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def pixels(shade):
    return np.full((4, 5, 3), shade, np.uint8)


def test_another_division_has_the_bytes_of_packing_so_at_once(tmp_path):
    shapes = ShapesReader(11, size=48)
    pack(shapes, tmp_path / "threes", samples_per_shard=3)
    pack(shapes, tmp_path / "fives", samples_per_shard=5)

    again = pack(ShardSetReader([tmp_path / "threes"]), tmp_path / "out", samples_per_shard=5)

    assert tars(tmp_path / "out") == tars(tmp_path / "fives")
    assert again.report["source"] == {
        "data_set": "shards",
        "sets": [{"sha256": index_sha256(tmp_path / "threes"), "source": shapes.source}],
    }
    assert again.report["dropped"] == {}


def test_several_sets_become_one_in_the_order_of_keys(tmp_path):
    write_numbered(tmp_path / "b", 3, samples_per_shard=2, prefix="b")
    write_numbered(tmp_path / "a", 2, samples_per_shard=2, prefix="a")

    index = pack(ShardSetReader([tmp_path / "b", tmp_path / "a"]), tmp_path / "out")

    assert index.keys == ("a0000", "a0001", "b0000", "b0001", "b0002")
    assert index.shard_lengths == (5,)


def test_a_set_can_be_divided_by_keys(tmp_path):
    write_numbered(tmp_path / "all", 6, samples_per_shard=4)
    index = pack(ShardSetReader([tmp_path / "all"], ["0005", "0001", "0001"]), tmp_path / "out")
    assert index.keys == ("0001", "0005")


def test_void_and_classes_of_pixels_come_along(tmp_path):
    cat = Object((0.0, 0.0, 2.0, 2.0), 0, 4.0, [[0.0, 0.0, 2.0, 0.0, 2.0, 2.0]], is_crowd=True)
    image = raw_sample("", pixels(9)).image
    samples = [
        RawSample(key, image, 4, 5, (cat,), 7, "x.png", VOID, grey(*[[label] * 5] * 4))
        for label, key in enumerate("ab")
    ]
    write_shards(tmp_path / "one", samples, samples_per_shard=2)
    write_shards(tmp_path / "each", samples, samples_per_shard=1)

    index = pack(ShardSetReader([tmp_path / "each"]), tmp_path / "out", samples_per_shard=2)

    assert tars(tmp_path / "out") == tars(tmp_path / "one")
    assert index.pixel_counts == ({0: 20}, {1: 20})
    assert ShardIndex.read(tmp_path / "out").label is not None


def test_a_turned_image_is_not_turned_again(tmp_path):
    """Stored with its orientation ignored, because only so it had the annotated size."""
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # on its side
    Image.fromarray(pixels(200)).save(stream, "JPEG", exif=exif)
    sample = RawSample("a", stream.getvalue(), 4, 5, (), file_name="a.jpg")
    write_shards(tmp_path / "in", [sample])

    pack(ShardSetReader([tmp_path / "in"]), tmp_path / "out", samples_per_shard=2)

    assert tars(tmp_path / "out") == tars(tmp_path / "in")


def test_sets_that_do_not_belong_together_are_refused(tmp_path):
    write_numbered(tmp_path / "a", 2)
    write_numbered(tmp_path / "same_keys", 2)
    other = LabelMap(("cat", "cow"))
    write_shards(tmp_path / "cows", [raw_sample("x", pixels(0))], label_map=other)
    labelled = RawSample(
        "y", raw_sample("y", pixels(0)).image, 4, 5, (), label_png=grey(*[[0] * 5] * 4)
    )
    pack(ListReader([labelled]), tmp_path / "labelled")

    with pytest.raises(UserError, match="0000"):
        ShardSetReader([tmp_path / "a", tmp_path / "same_keys"])
    with pytest.raises(UserError, match='"dog" in one and "cow"'):
        ShardSetReader([tmp_path / "a", tmp_path / "cows"])
    with pytest.raises(UserError, match="a has no classes of pixels, the other sets have"):
        ShardSetReader([tmp_path / "a", tmp_path / "labelled"])


def test_keys_that_no_set_has_are_named(tmp_path):
    write_numbered(tmp_path / "a", 2)
    with pytest.raises(UserError, match=r"2 of 3 keys are not in .*a: nine, ten\."):
        ShardSetReader([tmp_path / "a"], ["0001", "ten", "nine"])
