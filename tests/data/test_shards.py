"""Reading samples by number, and what a damaged shard is answered with."""

import json
import os
import pickle

import numpy as np
import pytest
import webdataset

from lit_detseg.data import shards
from lit_detseg.data.index import INDEX_FILE
from lit_detseg.data.records import Object
from lit_detseg.data.shards import ShardReader
from lit_detseg.structures import LabelMap, UserError
from tests.data.shard_sets import raw_sample, write_numbered, write_shards

DOG = Object(box=(1.0, 2.0, 5.0, 7.0), label=1, area=20.0)


@pytest.fixture
def folder(tmp_path):
    return write_numbered(tmp_path / "set", images=10)


@pytest.fixture
def first_shard(folder):
    return folder / "shard-000000.tar"


def replace_bytes(path, old, new):
    """Change a file without changing its length."""
    data = path.read_bytes()
    assert old in data
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new))


def test_every_sample_is_read_by_its_number(folder):
    reader = ShardReader([folder])

    images = [reader.read(sample) for sample in (9, 0, 5)]

    assert [int(image[0, 0, 0]) for image, _ in images] == [9, 0, 5]
    assert [record.image_id for _, record in images] == ["0009", "0000", "0005"]
    assert len(reader) == len(ShardReader(folder)) == 10
    assert reader.shard_lengths == (4, 4, 2)
    np.testing.assert_array_equal(images[0][0], np.full((8, 8, 3), (9, 0, 255)))


def test_the_record_comes_as_packed(tmp_path):
    image = np.zeros((8, 9, 3), np.uint8)
    folder = write_shards(tmp_path / "set", [raw_sample("rex", image, [DOG])])
    _, record = ShardReader([folder]).read(0)
    assert record.objects == (DOG,)
    assert (record.height, record.width) == (8, 9)


def test_webdataset_reads_the_same_samples(folder):
    paths = sorted(str(path) for path in folder.glob("*.tar"))

    samples = list(webdataset.WebDataset(paths, shardshuffle=False))

    reader = ShardReader([folder])
    assert [sample["__key__"] for sample in samples] == reader.keys.tolist()
    for number, sample in enumerate(samples):
        assert sample["png"] == reader.image_bytes(number)
        assert json.loads(sample["json"]) == reader.record(number).to_json()


def test_several_sets_are_read_as_one(folder, tmp_path):
    other = write_numbered(tmp_path / "other", images=3, prefix="b")
    reader = ShardReader([folder, other])
    assert len(reader) == 13
    assert reader.shard_lengths == (4, 4, 2, 3)
    assert len(reader.sha256) == 2
    assert reader.read(11)[1].image_id == "b0001"
    assert int(reader.image(11)[0, 0, 0]) == 1


def test_sets_of_different_classes_are_refused(folder, tmp_path):
    sample = raw_sample("zebra", np.zeros((8, 8, 3), np.uint8))
    other = write_shards(tmp_path / "other", [sample], label_map=LabelMap(("cat", "zebra")))
    with pytest.raises(UserError, match='label 1 is "dog" in one and "zebra" in the other'):
        ShardReader([folder, other])


def test_sets_that_share_a_key_are_refused(folder, tmp_path):
    other = write_numbered(tmp_path / "other", images=2)
    with pytest.raises(UserError, match=r"2 keys stand twice.*0000"):
        ShardReader([folder, other])
    with pytest.raises(UserError, match="none twice"):
        ShardReader([folder, folder])


def test_a_folder_that_is_no_shard_set_is_named(tmp_path):
    with pytest.raises(UserError, match="is not a shard set"):
        ShardReader([tmp_path])


def test_a_missing_shard_is_named(folder, first_shard):
    first_shard.unlink()
    reader = ShardReader([folder])
    with pytest.raises(UserError, match=r"shard-000000.tar cannot be opened \(No such file"):
        reader.read(0)
    assert reader.read(4)[1].image_id == "0004"  # the others are still there


def test_a_shard_that_is_shorter_than_the_index_says_is_named(folder, first_shard):
    expected = first_shard.stat().st_size
    os.truncate(first_shard, 1000)
    with pytest.raises(UserError, match=f"shard-000000.tar has 1000 bytes, .* says {expected}"):
        ShardReader([folder]).read(3)


def test_a_shard_that_is_cut_while_it_is_open_is_named(folder, first_shard):
    reader = ShardReader([folder])
    reader.read(0)
    os.truncate(first_shard, 1000)
    with pytest.raises(UserError, match="copy is incomplete"):
        reader.read(3)


def test_a_record_that_is_not_json_is_named(folder, first_shard):
    replace_bytes(first_shard, b'{"file_name":"0002"', b'?"file_name":"0002"')
    with pytest.raises(UserError, match=r"shard-000000.tar, sample 0002: the record cannot be"):
        ShardReader([folder]).read(2)


def test_a_record_of_another_image_is_named(folder, first_shard):
    replace_bytes(first_shard, b'"image_id":"0002"', b'"image_id":"0007"')
    with pytest.raises(UserError, match="sample 0002: .* the record is that of '0007'"):
        ShardReader([folder]).read(2)


def test_an_image_that_cannot_be_decoded_is_named(folder, first_shard):
    replace_bytes(first_shard, b"\x89PNG", b"\x00PNG")
    with pytest.raises(UserError, match="sample 0001: the image cannot be read .*copy it again"):
        ShardReader([folder]).read(1)


def test_an_image_of_another_size_than_its_record_says_is_named(folder, first_shard):
    replace_bytes(first_shard, b'"height":8', b'"height":9')
    with pytest.raises(UserError, match="has 8 x 8 pixels, its record says 9 x 8"):
        ShardReader([folder]).read(1)


def test_an_index_that_contradicts_itself_is_refused(folder):
    index = folder / INDEX_FILE
    index.write_text(index.read_text().replace('"samples":4', '"samples":3', 1))
    with pytest.raises(UserError, match="counts 9 samples by shard, but 10 keys"):
        ShardReader([folder])


def test_open_files_are_bounded_and_not_shared_with_children(folder, monkeypatch):
    monkeypatch.setattr(shards, "MAX_OPEN_SHARDS", 2)
    before = len(os.listdir("/proc/self/fd"))
    reader = ShardReader([folder])
    for sample in (0, 4, 8, 0, 9):
        reader.read(sample)
    assert len(os.listdir("/proc/self/fd")) - before == 2
    copy = pickle.loads(pickle.dumps(reader))  # what a spawned worker gets
    del reader
    assert len(os.listdir("/proc/self/fd")) == before
    assert copy.read(8)[1].image_id == "0008"


def test_a_forked_child_opens_its_own_files(folder):
    reader = ShardReader([folder])
    reader.read(0)
    child = os.fork()
    if child == 0:
        os._exit(0 if int(reader.image(1)[0, 0, 0]) == 1 and reader._open_files._process else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert int(reader.image(2)[0, 0, 0]) == 2
