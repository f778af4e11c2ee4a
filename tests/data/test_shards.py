"""Reading samples by number, and what a damaged shard is answered with."""

import hashlib
import json
import os
import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import webdataset

from lit_detseg.data.index import INDEX_FILE, Member, Shard, ShardIndex
from lit_detseg.data.records import Object
from lit_detseg.data.remote import open_files
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


def move_records(folder, without=()):
    """Put all records into a side file, as for tars that others have made; some are missing."""
    index, reader = ShardIndex.read(folder), ShardReader(folder)
    texts = [
        b"" if sample in without else json.dumps(reader.record(sample).to_json()).encode()
        for sample in range(len(reader))
    ]
    data, sizes = b"".join(texts), np.array([len(text) for text in texts])
    (folder / "records.bin").write_bytes(data)
    side_file = Shard("records.bin", len(index), len(data), hashlib.sha256(data).hexdigest())
    member = Member(np.cumsum(sizes) - sizes, sizes)
    replace(index, records=side_file, record=member).write(folder)


def test_records_are_read_from_a_side_file_where_there_is_one(folder, tmp_path):
    other = write_numbered(tmp_path / "other", images=3, prefix="b")
    move_records(other)
    (other / "shard-000000.tar").rename(tmp_path / "elsewhere")  # images only
    reader = ShardReader([other, folder])
    ids = [reader.record(sample).image_id for sample in range(13)]
    assert ids == ["b0000", "b0001", "b0002", *(f"{number:04d}" for number in range(10))]


def test_a_sample_without_a_record_has_no_objects(tmp_path):
    samples = [raw_sample(key, np.zeros((8, 9, 3), np.uint8), [DOG]) for key in ("a", "b")]
    folder = write_shards(tmp_path / "set", samples)
    move_records(folder, without=[1])
    reader = ShardReader(folder)
    assert reader.record(0).objects == (DOG,)
    image, record = reader.read(1)
    assert (record.image_id, record.height, record.width, record.objects) == ("b", 8, 9, ())
    assert image.shape == (8, 9, 3)


def add_labels(folder, pngs):
    """Append the label maps of a set of one shard to it."""
    index = ShardIndex.read(folder)
    shard, sizes = index.shards[0], np.array([len(png) for png in pngs])
    with (folder / shard.name).open("ab") as file:
        file.write(b"".join(pngs))
    member = Member(shard.bytes + np.cumsum(sizes) - sizes, sizes)
    longer = replace(shard, bytes=shard.bytes + int(sizes.sum()))
    replace(index, shards=(longer,), label=member).write(folder)


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_the_class_of_each_pixel_is_read_as_stored(folder, tmp_path):
    maps = [np.full((8, 8), 255, np.uint8), np.arange(64, dtype=np.uint8).reshape(8, 8)]
    labelled = write_numbered(tmp_path / "labelled", images=2, prefix="b")
    add_labels(labelled, [png(pixels) for pixels in maps])

    both = ShardReader([folder, labelled])

    assert ShardReader(labelled).has_labels
    assert not both.has_labels
    for sample, pixels in zip((10, 11), maps, strict=True):
        np.testing.assert_array_equal(both.label(sample), pixels)
        assert both.label(sample).dtype == np.uint8
    with pytest.raises(UserError, match="sample 0003 has no class for each pixel"):
        both.label(3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(np.zeros((8, 8, 3), np.uint8)), "not an 8-bit grey image"),
        (png(np.zeros((8, 8), np.uint16)), "not an 8-bit grey image"),
        (png(np.zeros((8, 9), np.uint8)), r"it has \(8, 9\) pixels, its image \(8, 8\)"),
        (b"nothing", "truncated, corrupt or not an image"),
    ],
)
def test_a_label_map_that_is_none_is_named(tmp_path, data, reason):
    folder = write_numbered(tmp_path / "set", images=1)
    add_labels(folder, [data])
    with pytest.raises(UserError, match=f"sample 0000: the label map cannot be read .*{reason}"):
        ShardReader(folder).label(0)


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
    monkeypatch.setattr(open_files, "MAX_OPEN_FILES", 2)
    before = len(os.listdir("/proc/self/fd"))
    reader = ShardReader([folder])
    for sample in (0, 4, 8, 0, 9):
        reader.read(sample)
    assert len(os.listdir("/proc/self/fd")) - before == 2
    copy = pickle.loads(pickle.dumps(reader))  # what a spawned worker gets
    del reader
    assert len(os.listdir("/proc/self/fd")) == before
    assert copy.read(8)[1].image_id == "0008"


def test_a_shard_that_the_system_cannot_read_is_named(folder, first_shard):
    reader = ShardReader([folder])
    reader.read(0)
    unreadable = os.open(os.devnull, os.O_WRONLY)
    os.dup2(unreadable, reader._open_files._descriptors[str(first_shard)])
    os.close(unreadable)
    with pytest.raises(UserError, match=r"shard-000000.tar cannot be read \(Bad file descriptor\)"):
        reader.read(1)


def test_a_forked_child_opens_its_own_files(folder):
    reader = ShardReader([folder])
    reader.read(0)
    child = os.fork()
    if child == 0:
        os._exit(0 if int(reader.image(1)[0, 0, 0]) == 1 and reader._open_files._process else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert int(reader.image(2)[0, 0, 0]) == 2
