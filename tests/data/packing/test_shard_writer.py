"""The tar files against Python's tarfile and webdataset."""

import hashlib
import json
import tarfile

import pytest
import webdataset

from lit_detseg.data.images import EncodedImage
from lit_detseg.data.packing.shard_writer import ShardWriter
from lit_detseg.data.records import Object, Record
from lit_detseg.structures import LabelMap


def record(key, *labels):
    objects = tuple(Object((0.0, 0.0, 1.0, 1.0), label, 1.0) for label in labels)
    return Record(key, 3, 4, objects, source_id=key, file_name=f"{key}ö.jpg")


IMAGE = EncodedImage(b"not looked at" * 50, "jpg", 3, 4)
PNG = EncodedImage(b"x" * 512, "png", 3, 4)  # exactly one block: no padding


@pytest.fixture
def written(tmp_path):
    writer = ShardWriter(tmp_path)
    writer.add(0, record("a", 1, 1, 0), IMAGE)
    writer.add(0, record("b"), PNG)
    writer.add(2, record("c", 1), IMAGE)  # shard 1 lost all its images
    return tmp_path, writer.finish(LabelMap(("x", "y")), {"note": 1})


def test_the_index_finds_every_byte(written):
    folder, index = written
    for number, (key, image) in enumerate(zip("abc", (IMAGE, PNG, IMAGE), strict=True)):
        data = (folder / index.shards[index.shard_of[number]].name).read_bytes()
        at, size = index.image.offset[number], index.image.size[number]
        assert data[at : at + size] == image.data
        at, size = index.record.offset[number], index.record.size[number]
        assert Record.from_json(json.loads(data[at : at + size])).image_id == key


def test_the_index_describes_the_shards(written):
    folder, index = written
    assert [shard.name for shard in index.shards] == ["shard-000000.tar", "shard-000002.tar"]
    assert index.shard_lengths == (2, 1)
    assert index.shard_of.tolist() == [0, 0, 1]
    assert index.class_counts == ({1: 2, 0: 1}, {}, {1: 1})
    assert index.sizes.tolist() == [[3, 4]] * 3
    for shard in index.shards:
        data = (folder / shard.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)


def test_members_carry_no_time_and_no_owner(written):
    folder, _ = written
    with tarfile.open(folder / "shard-000000.tar") as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == ["a.jpg", "a.json", "b.png", "b.json"]
    assert {(m.mtime, m.uid, m.gid, m.mode, m.uname) for m in members} == {(0, 0, 0, 0o644, "")}


def test_webdataset_reads_the_same_samples(written):
    folder, index = written
    paths = [str(folder / shard.name) for shard in index.shards]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["a", "b", "c"]
    assert samples[0]["jpg"] == IMAGE.data
    assert samples[1]["png"] == PNG.data
    assert Record.from_json(json.loads(samples[0]["json"])) == record("a", 1, 1, 0)
