"""Packing as a whole: bad rows planted one by one, and the same bytes every time."""

import errno
import io
import json

import numpy as np
import pytest
from PIL import Image

from lit_detseg.data.images import decode
from lit_detseg.data.index import ShardIndex
from lit_detseg.data.packing.checks import Fault, Kind
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.data.records import Object, RawSample, Record
from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap
from tests.conftest import REPOSITORY


def encoded(height=20, width=30, form="PNG", shade=90):
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), shade, np.uint8)).save(stream, form)
    return stream.getvalue()


def sample(key, *objects, image=None, size=(20, 30)):
    image = encoded() if image is None else image
    return RawSample(key, image, *size, tuple(objects), key, f"{key}.png")


def item(number, box=(1.0, 1.0, 9.0, 9.0), mask=None):
    return Object(box, 0, 64.0, mask, source_id=number)


class Rows:
    """A reader of given samples, with the faults that a reader would have found."""

    title = "Test set"
    source = {"data_set": "rows"}
    label_map = LabelMap(("cat",))

    def __init__(self, *samples, faults=(), found=None):
        self.samples, self.faults, self.found = samples, faults, found or {}

    def __len__(self):
        return len(self.samples)

    def read(self, rank):
        one = self.samples[rank]
        return one, self.found.get(one.image_id, [])


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def records(folder):
    """Every record of a set, by key."""
    index = ShardIndex.read(folder)
    stored = {}
    for number, key in enumerate(index.keys):
        data = (folder / index.shards[index.shard_of[number]].name).read_bytes()
        at, size = index.record.offset[number], index.record.size[number]
        stored[key] = Record.from_json(json.loads(data[at : at + size]))
    return stored


def test_what_goes_in_comes_out(tmp_path):
    polygon = [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0]]
    given = sample("a", item(1, mask=polygon), item(2))

    index = pack(Rows(given, sample("b")), tmp_path / "out")

    assert index.keys == ("a", "b")
    assert records(tmp_path / "out") == {
        "a": Record("a", 20, 30, given.objects, "a", "a.png"),
        "b": Record("b", 20, 30, (), "b", "b.png"),
    }
    assert index.report["dropped"] == {}
    assert not list(tmp_path.glob("*.packing"))


def test_the_written_index_is_the_returned_one(tmp_path):
    index = pack(ShapesReader(7, size=48), tmp_path / "out", samples_per_shard=3)

    stored = ShardIndex.read(tmp_path / "out")

    assert stored.shards == index.shards
    assert stored.shard_lengths == (3, 3, 1)
    assert stored.report == index.report
    np.testing.assert_array_equal(stored.image.offset, index.image.offset)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        pack(ShapesReader(12, size=48), tmp_path / name, samples_per_shard=5)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_stored_size_is_the_decoded_one(tmp_path):
    rows = Rows(sample("a", image=encoded(11, 13, "BMP"), size=(None, None)))
    index = pack(rows, tmp_path / "out")
    data = (tmp_path / "out/shard-000000.tar").read_bytes()
    stored = data[index.image.offset[0] :][: index.image.size[0]]
    assert decode(stored).shape == (11, 13, 3)
    assert index.sizes.tolist() == [[11, 13]]


RLE = {"size": [30, 20], "counts": [600]}  # of an image on its side
BAD_OBJECTS = {
    Kind.ZERO_SIZE_BOX: item(2, (5.0, 5.0, 5.0, 9.0)),
    Kind.INVERTED_BOX: item(2, (9.0, 5.0, 5.0, 9.0)),
    Kind.NON_FINITE_BOX: item(2, (float("nan"), 5.0, 5.0, 9.0)),
    Kind.BOX_OUTSIDE_IMAGE: item(2, (5.0, 5.0, 35.0, 9.0)),
    Kind.MALFORMED_MASK: item(2, mask=RLE),
}


@pytest.mark.parametrize("kind", BAD_OBJECTS, ids=str)
def test_a_bad_object_is_listed_or_dropped(tmp_path, kind):
    rows = Rows(sample("a", item(1), BAD_OBJECTS[kind]), sample("b", BAD_OBJECTS[kind]))

    with pytest.raises(UserError) as error:
        pack(rows, tmp_path / "failed")
    index = pack(rows, tmp_path / "out", on_error="drop")

    words = kind.replace("_", " ")
    assert f"2 {words}" in str(error.value)
    assert f"a.png, object 2 (cat): {words}" in str(error.value)
    assert f"b.png, object 2 (cat): {words}" in str(error.value)
    assert "--on-error drop" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert index.report["dropped"] == {kind: 2}
    assert len(index.report["dropped_rows"]) == 2
    stored = records(tmp_path / "out")
    assert stored["a"].objects == (item(1),)
    assert stored["b"].objects == ()  # an image without objects stays


BAD_IMAGES = {
    "truncated": (encoded(200, 300, "JPEG")[:-30], (20, 30), Kind.UNREADABLE_IMAGE, "truncated"),
    "missing": (REPOSITORY / "none.jpg", (20, 30), Kind.UNREADABLE_IMAGE, "No such file"),
    "a folder": (REPOSITORY, (20, 30), Kind.UNREADABLE_IMAGE, "directory"),
    "another size": (encoded(20, 31), (20, 30), Kind.WRONG_IMAGE_SIZE, r"\(20, 30\).*\(20, 31\)"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
@pytest.mark.parametrize("on_error", ["drop", "clip"])
def test_a_bad_image_is_listed_or_dropped_whole(tmp_path, name, on_error):
    image, size, kind, reason = BAD_IMAGES[name]
    bad = sample("b", item(1), item(2, (5.0, 5.0, 35.0, 9.0)), image=image, size=size)
    rows = Rows(sample("a"), bad, sample("c"))

    with pytest.raises(UserError, match=rf"b\.png: {kind.replace('_', ' ')}: .*{reason}"):
        pack(rows, tmp_path / "failed")
    index = pack(rows, tmp_path / "out", on_error=on_error)

    assert index.keys == ("a", "c")
    assert index.report["dropped"] == {kind: 1}
    assert (index.report["images_read"], index.report["objects_read"]) == (3, 2)
    assert index.report["clipped"] == 0


def test_faults_of_the_reader_count_too(tmp_path):
    row = Fault(Kind.UNKNOWN_CLASS, "b.xml", "'zebra'", "object 1 (zebra)")
    broken = Fault(Kind.UNREADABLE_ANNOTATION, "c.xml", "no element found")
    orphan = Fault(Kind.UNKNOWN_IMAGE, "all.json", "image_id 5 is not in images", "object 9")
    found = {"b": [row], "c": [broken]}
    rows = Rows(sample("a"), sample("b"), sample("c"), faults=(orphan,), found=found)

    with pytest.raises(UserError) as error:
        pack(rows, tmp_path / "out")
    index = pack(rows, tmp_path / "out", on_error="drop")

    assert all(str(fault) in str(error.value) for fault in (row, broken, orphan))
    assert index.keys == ("a", "b")
    assert index.report["dropped"] == {
        "unknown_class": 1,
        "unknown_image": 1,
        "unreadable_annotation": 1,
    }


def test_clip_cuts_boxes_at_the_border_and_drops_the_rest(tmp_path):
    rows = Rows(
        sample(
            "a",
            item(1, (25.0, 5.0, 35.0, 9.0)),  # 10 x 4, of which 5 x 4 are in the image
            item(2, (40.0, 5.0, 45.0, 9.0)),  # beside the image
            item(3, (5.0, 5.0, 5.0, 9.0)),
        )
    )

    index = pack(rows, tmp_path / "out", on_error="clip")

    (kept,) = records(tmp_path / "out")["a"].objects
    assert (kept.box, kept.area) == ((25.0, 5.0, 30.0, 9.0), 20.0)
    assert index.report["clipped"] == 1
    assert index.report["dropped"] == {"box_outside_image": 1, "zero_size_box": 1}


def test_a_dropped_image_leaves_its_shard_shorter_and_moves_no_other(tmp_path):
    keys = "abcdef"
    whole = pack(Rows(*map(sample, keys)), tmp_path / "whole", samples_per_shard=2)
    bad = [sample(key, image=b"" if key in "acd" else None) for key in keys]

    index = pack(Rows(*bad), tmp_path / "out", on_error="drop", samples_per_shard=2)

    assert whole.shard_lengths == (2, 2, 2)
    assert [shard.name for shard in index.shards] == ["shard-000000.tar", "shard-000002.tar"]
    assert index.shard_lengths == (1, 2)
    assert index.shards[1].sha256 == whole.shards[2].sha256


@pytest.mark.parametrize(
    ("rows", "reason"),
    [(Rows(), "it has none"), (Rows(sample("a", image=b"")), "all were left out")],
)
def test_a_set_without_images_is_refused(tmp_path, rows, reason):
    with pytest.raises(UserError, match=reason):
        pack(rows, tmp_path / "out", on_error="drop")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"on_error": "ignore"}, {"samples_per_shard": 0}])
def test_unknown_options_are_refused(tmp_path, options):
    with pytest.raises(UserError, match="use one of fail, drop, clip and at least 1"):
        pack(Rows(sample("a")), tmp_path / "out", **options)


def test_a_reader_out_of_order_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="not sorted"):
        pack(Rows(sample("b"), sample("a")), tmp_path / "out")


def test_progress_is_told_of_every_image(tmp_path):
    seen = []
    rows = Rows(*map(sample, "abc"))
    pack(rows, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_full_folder_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    for overwrite, message in ((False, "not empty"), (True, "not a shard set")):
        with pytest.raises(UserError, match=message):
            pack(Rows(sample("a")), tmp_path / "out", overwrite=overwrite)
    assert contents(tmp_path / "out") == {"thesis.txt": b"years of work"}


def test_a_shard_set_with_other_things_in_it_is_left_alone(tmp_path):
    pack(Rows(sample("a")), tmp_path / "out")
    (tmp_path / "out/proposals").mkdir()
    with pytest.raises(UserError, match="more than shards .proposals"):
        pack(Rows(sample("b")), tmp_path / "out", overwrite=True)
    assert ShardIndex.read(tmp_path / "out").keys == ("a",)


def test_overwrite_replaces_an_older_set(tmp_path):
    pack(Rows(*map(sample, "abc")), tmp_path / "out", samples_per_shard=1)
    with pytest.raises(UserError, match="--overwrite"):
        pack(Rows(sample("d")), tmp_path / "out")

    pack(Rows(sample("d")), tmp_path / "out", overwrite=True)

    assert list(contents(tmp_path / "out")) == ["index.json", "shard-000000.tar"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_overwrite_keeps_the_older_set(tmp_path):
    pack(Rows(sample("a")), tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match="unreadable image"):
        pack(Rows(sample("b", image=b"")), tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == before


def test_an_older_set_moved_aside_by_a_killed_run_comes_back(tmp_path):
    pack(Rows(sample("a")), tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "out.replaced")
    with pytest.raises(UserError, match="not empty"):
        pack(Rows(sample("b")), tmp_path / "out")
    assert ShardIndex.read(tmp_path / "out").keys == ("a",)


def test_an_empty_folder_and_missing_parents_are_fine(tmp_path):
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "some/where/new"):
        assert len(pack(Rows(sample("a")), out)) == 1


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="is a file"):
        pack(Rows(sample("a")), tmp_path / "out", overwrite=True)


def test_a_full_disk_is_told_and_finished_shards_are_kept(tmp_path):
    class Full(Rows):
        def read(self, rank):
            if rank == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().read(rank)

    with pytest.raises(UserError, match="No room for .*No space left.*kept in out.packing"):
        pack(Full(*map(sample, "abc")), tmp_path / "out", samples_per_shard=2)
    assert [path.name for path in tmp_path.glob("*/shards/*")] == ["shard-000000.tar"]


def test_a_number_of_workers_below_one_is_refused(tmp_path):
    with pytest.raises(UserError, match="workers = 0: use at least 1 process"):
        pack(Rows(sample("a")), tmp_path / "out", workers=0)
