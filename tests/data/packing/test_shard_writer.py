"""The tar files against Python's tarfile and webdataset."""

import hashlib
import json
import tarfile

import pytest
import webdataset

from lit_detseg.data.images import EncodedImage
from lit_detseg.data.packing.checks import LONGEST_KEY
from lit_detseg.data.packing.outcome import PixelClasses
from lit_detseg.data.packing.shard_writer import ShardWriter
from lit_detseg.data.records import Object, Record


def record(key, *labels):
    objects = tuple(Object((0.0, 0.0, 1.0, 1.0), label, 1.0) for label in labels)
    return Record(key, 3, 4, objects, source_id=key, file_name=f"{key}ö.jpg")


IMAGE = EncodedImage(b"not looked at" * 50, "jpg", 3, 4)
PNG = EncodedImage(b"x" * 512, "png", 3, 4)  # exactly one block: no padding


CLASSES = PixelClasses(b"pixels", {0: 7, 2: 5})


@pytest.fixture
def written(tmp_path):
    writer = ShardWriter(tmp_path / "shard-000003.tar")
    writer.add(record("a", 1, 1, 0), IMAGE)
    writer.add(record("b"), PNG)
    return writer, writer.close(), (tmp_path / "shard-000003.tar").read_bytes()


def test_the_rows_find_every_byte(written):
    writer, _, data = written
    for row, key, image in zip(writer.rows, "ab", (IMAGE, PNG), strict=True):
        image_at, image_size, record_at, record_size, height, width = row
        assert data[image_at : image_at + image_size] == image.data
        assert (height, width) == (3, 4)
        stored = json.loads(data[record_at : record_at + record_size])
        assert Record.from_json(stored).image_id == key


def test_the_shard_is_described(written):
    writer, shard, data = written
    assert (shard.name, shard.samples, shard.bytes) == ("shard-000003.tar", 2, len(data))
    assert shard.sha256 == hashlib.sha256(data).hexdigest()
    assert writer.class_counts == [{1: 2, 0: 1}, {}]
    assert writer.keys == ["a", "b"]


def test_a_file_may_be_written_under_another_name(tmp_path):
    writer = ShardWriter(tmp_path / "unfinished", "shard-000001.tar")
    writer.add(record("a"), IMAGE)
    assert writer.close().name == "shard-000001.tar"
    assert [path.name for path in tmp_path.iterdir()] == ["unfinished"]


def test_without_samples_there_is_no_file(tmp_path):
    assert ShardWriter(tmp_path / "shard-000001.tar").close() is None
    assert not list(tmp_path.iterdir())


def test_the_classes_of_pixels_are_a_member_of_their_own(tmp_path):
    writer = ShardWriter(tmp_path / "a.tar")
    long_key = "k" * LONGEST_KEY
    writer.add(record(long_key), IMAGE, CLASSES)
    writer.close()

    with tarfile.open(tmp_path / "a.tar") as tar:
        names = tar.getnames()
    (sample,) = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False)

    assert names == [f"{long_key}.jpg", f"{long_key}.json", f"{long_key}.label.png"]
    assert sample["label.png"] == b"pixels"
    at, size = writer.rows[0][6:]
    assert (tmp_path / "a.tar").read_bytes()[at : at + size] == b"pixels"
    assert writer.pixel_counts == [{0: 7, 2: 5}]


def test_members_carry_no_time_and_no_owner(written):
    with tarfile.open(written[0].path) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == ["a.jpg", "a.json", "b.png", "b.json"]
    assert {(m.mtime, m.uid, m.gid, m.mode, m.uname) for m in members} == {(0, 0, 0, 0o644, "")}


def test_webdataset_reads_the_same_samples(written):
    samples = list(webdataset.WebDataset(str(written[0].path), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["a", "b"]
    assert samples[0]["jpg"] == IMAGE.data
    assert samples[1]["png"] == PNG.data
    assert Record.from_json(json.loads(samples[0]["json"])) == record("a", 1, 1, 0)
