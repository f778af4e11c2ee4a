"""Indexes of foreign tars: what `ShardReader` reads through them is what webdataset reads."""

import io
import json
import tarfile

import pytest
import webdataset
from PIL import Image

from lit_detseg.data.foreign_tars.classes import Classes
from lit_detseg.data.foreign_tars.index_tars import index_tars
from lit_detseg.data.index import INDEX_FILE, ShardIndex
from lit_detseg.data.records import Object, Record
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError
from tests.data.foreign_tars.tars import HEIGHT, WIDTH, jpeg, row, write_tar
from tests.data.verification.crafted import (
    CAT,
    DOG,
    clean_samples,
    findings,
    picture,
    png,
    write_set,
)

ANIMALS = Classes.from_names(["cat", "dog"])
SPLIT = [row("dog", iscrowd=0), row("cat", (0, 0, 5, 8), area=33.5, id=9)]


@pytest.fixture
def tar(tmp_path):
    """Three samples with annotations, one without."""
    return write_tar(
        tmp_path / "set/train.tar",
        [
            ("a.jpg", jpeg(0)),
            ("a.json", {"annotations": SPLIT}),
            ("b.JPEG", jpeg(1)),
            ("b.cls", b"3"),
            ("c.json", []),
            ("c.png", png(picture(2)).data),
            ("d.json", {"boxes": [[1, 2, 30, 40]], "labels": ["dog"]}),
            ("d.jpg", jpeg(3)),
        ],
    )


def test_the_reader_sees_what_webdataset_sees(tar):
    index_tars([tar])

    reader = ShardReader(tar.parent)
    samples = list(webdataset.WebDataset(str(tar), shardshuffle=False))
    assert [one["__key__"] for one in samples] == reader.keys.tolist() == ["a", "b", "c", "d"]
    for number, one in enumerate(samples):
        image = next(one[suffix] for suffix in ("jpg", "jpeg", "png") if suffix in one)
        assert reader.image_bytes(number) == image
    assert reader.image(2).shape == (HEIGHT, WIDTH, 3)


def test_annotations_of_all_forms_become_records(tar):
    index = index_tars([tar])

    reader = ShardReader(tar.parent)
    assert reader.label_map.names == ("cat", "dog")  # the names found, sorted
    objects = [reader.record(number).objects for number in range(4)]
    assert objects[0] == (
        Object((10.0, 10.0, 30.0, 30.0), 1, 400.0, source_id="#1"),
        Object((0.0, 0.0, 5.0, 8.0), 0, 33.5, source_id=9),
    )
    assert objects[1:3] == [(), ()]
    assert objects[3] == (Object((1.0, 2.0, 30.0, 40.0), 1, 29.0 * 38.0, source_id="#1"),)
    assert index.record.size[1] == 0  # no annotation is not an empty one
    assert index.record.size[2] > 0
    assert index.class_counts == ({1: 1, 0: 1}, {}, {}, {1: 1})
    assert index.sizes.tolist() == [[HEIGHT, WIDTH]] * 4
    assert index.report["ignored_files"] == {"cls": 1}


def test_the_tars_stay_as_they_are_and_the_index_verifies(tar):
    before = tar.read_bytes()
    index_tars([tar])
    assert tar.read_bytes() == before
    assert sorted(path.name for path in tar.parent.iterdir()) == [
        INDEX_FILE,
        "records.tar",
        "train.tar",
    ]
    assert findings(tar.parent) == []


def test_the_same_tars_give_the_same_index(tar, tmp_path):
    for name in ("one", "two"):
        index_tars([tar], tmp_path / name, workers=2 if name == "two" else 0)
    for file in (INDEX_FILE, "records.tar"):
        one, two = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
        assert one == two


def test_records_of_our_own_are_used_where_they_stand(tmp_path):
    folder = write_set(tmp_path / "set", clean_samples())
    packed = ShardIndex.read(folder)
    (folder / INDEX_FILE).unlink()

    index = index_tars(sorted(folder.glob("*.tar")), classes=ANIMALS)

    assert not (folder / "records.tar").exists()
    assert index.records is None
    stored = ShardIndex.read(folder)
    for name in ("keys", "shards", "class_counts", "label_map"):
        assert getattr(stored, name) == getattr(packed, name)
    for name in ("image", "record"):
        assert getattr(stored, name).offset.tolist() == getattr(packed, name).offset.tolist()
    assert findings(folder) == []


def test_one_record_that_has_to_change_moves_all_to_the_side_file(tmp_path):
    right = Record("a", HEIGHT, WIDTH, (CAT,)).to_json()
    other_name = Record("elsewhere", HEIGHT, WIDTH, (DOG,)).to_json()
    tar = write_tar(
        tmp_path / "x.tar",
        [("a.jpg", jpeg(0)), ("a.json", right), ("b.jpg", jpeg(1)), ("b.json", other_name)],
    )
    index_tars([tar], classes=ANIMALS)
    reader = ShardReader(tmp_path)
    assert [reader.record(number).objects for number in (0, 1)] == [(CAT,), (DOG,)]
    assert reader.record(1).image_id == "b"
    assert findings(tmp_path) == []


def test_folders_in_names_and_samples_in_pieces(tmp_path):
    """Webdataset would split these samples; the index does not have to."""
    long = "folder/" + "ü" * 120
    tar = write_tar(
        tmp_path / "x.tar",
        [
            ("train/a.jpg", jpeg(0)),
            (f"{long}.jpg", jpeg(1)),
            ("val/a.jpg", jpeg(2)),
            (f"{long}.json", [row("cat")]),
            ("val/a.json", [row("dog")]),
            ("train/a.json", []),
        ],
    )
    index_tars([tar])
    reader = ShardReader(tmp_path)
    assert reader.keys.tolist() == ["train/a", long, "val/a"]
    assert [reader.image_bytes(number) for number in range(3)] == [jpeg(k) for k in range(3)]
    labels = [[item.label for item in reader.record(k).objects] for k in range(3)]
    assert labels == [[], [0], [1]]
    assert findings(tmp_path) == []


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_both_kinds(tmp_path, form):
    key = "k" * 150
    members = [(f"{key}.jpg", jpeg(0)), (f"{key}.json", [row("cat")])]
    index_tars([write_tar(tmp_path / "x.tar", members, form)])
    reader = ShardReader(tmp_path)
    assert reader.keys.tolist() == [key]
    assert reader.image_bytes(0) == jpeg(0)
    assert len(reader.record(0).objects) == 1


def test_an_index_elsewhere_leads_to_the_tars(tmp_path):
    tars = [
        write_tar(tmp_path / f"{name}/x.tar", [(f"{name}.jpg", jpeg(seed))])
        for seed, name in enumerate("ab")
    ]
    with pytest.raises(UserError, match=r"lie in 2 folders .*--out"):
        index_tars(tars)
    index = index_tars(tars, tmp_path / "deep/index")
    assert [shard.name for shard in index.shards] == ["../../a/x.tar", "../../b/x.tar"]
    reader = ShardReader(tmp_path / "deep/index")
    assert [reader.image_bytes(number) for number in (0, 1)] == [jpeg(0), jpeg(1)]
    assert findings(tmp_path / "deep/index") == []

    tars[0].unlink()
    assert findings(tmp_path / "deep/index") == [("missing_file", "../../a/x.tar", "", "")]


def test_a_link_to_the_folder_of_the_index_is_no_obstacle(tmp_path):
    tar = write_tar(tmp_path / "tars/x.tar", [("a.jpg", jpeg(0))])
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far/away")
    index_tars([tar], tmp_path / "link")
    assert ShardReader(tmp_path / "link").image_bytes(0) == jpeg(0)


def encode(mode, form, **options):
    stream = io.BytesIO()
    Image.fromarray(picture(5)).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode("RGB", "JPEG", exif=exif)


GOOD = ("good.jpg", jpeg(7)), ("good.json", [row("cat")])
BAD = {
    "CMYK": [("x.jpg", encode("CMYK", "JPEG"))],
    "16 bits": [("x.png", encode("I;16", "PNG"))],
    "turned": [("x.jpg", turned())],
    "cut short": [("x.jpg", jpeg(0)[:200])],
    "no image": [("x.png", b"text")],
    "two images": [("x.png", png(picture(0)).data), ("x.jpg", jpeg(0))],
    "the same name twice": [("x.jpg", jpeg(0)), ("x.jpg", jpeg(1))],
    "broken JSON": [("x.jpg", jpeg(0)), ("x.json", b"{")],
    "unknown form": [("x.jpg", jpeg(0)), ("x.json", {"caption": "a cat"})],
    "another size": [
        ("x.jpg", jpeg(0)),
        ("x.json", {"annotations": [], "height": 41, "width": 60}),
    ],
}


@pytest.mark.parametrize("members", BAD.values(), ids=BAD)
def test_a_bad_image_is_listed_or_left_out(tmp_path, members):
    tar = write_tar(tmp_path / "x.tar", [*members, *GOOD])

    with pytest.raises(UserError, match=r"x\.tar, x: un|x\.tar, x: wrong image size") as error:
        index_tars([tar])
    assert "--on-error drop" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]

    index = index_tars([tar], on_error="drop")
    assert index.keys == ("good",)
    assert sum(index.report["dropped"].values()) == 1
    assert index.report["images_read"] == 2
    assert ShardReader(tmp_path).record(0).objects[0].label == 0


def test_a_turned_image_stays_if_it_was_annotated_as_stored(tmp_path):
    members = [("x.jpg", turned()), ("x.json", {"annotations": [], "height": 40, "width": 60})]
    index_tars([write_tar(tmp_path / "x.tar", members)], classes=ANIMALS)
    assert ShardReader(tmp_path).image(0).shape == (40, 60, 3)


BAD_ROWS = {
    "zero_size_box": row("cat", (1, 1, 0, 5)),
    "box_outside_image": row("cat", (50, 1, 15, 5)),
    "malformed_mask": row("cat", segmentation=[[1, 2, 3]]),
    "malformed_object": row("cat", (1, 2, 3)),
    "unknown_class": row("cow"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_row_is_listed_or_left_out(tmp_path, kind):
    rows = [row("dog"), BAD_ROWS[kind]]
    tar = write_tar(tmp_path / "x.tar", [("a.jpg", jpeg(0)), ("a.json", rows)])
    with pytest.raises(UserError, match=f"x.tar, a, object #2 .*{kind.replace('_', ' ')}"):
        index_tars([tar], classes=ANIMALS)
    index = index_tars([tar], classes=ANIMALS, on_error="drop")
    assert index.report["dropped"] == {kind: 1}
    assert index.class_counts == ({1: 1},)
    assert [item.label for item in ShardReader(tmp_path).record(0).objects] == [1]


def test_boxes_are_cut_at_the_border_if_asked(tmp_path):
    rows = [row("cat", (50, 1, 15, 5))]
    tar = write_tar(tmp_path / "x.tar", [("a.jpg", jpeg(0)), ("a.json", rows)])
    index = index_tars([tar], on_error="clip")
    assert index.report["clipped"] == 1
    assert ShardReader(tmp_path).record(0).objects[0].box == (50.0, 1.0, 60.0, 6.0)


def test_numbers_of_classes_need_names(tmp_path):
    tar = write_tar(tmp_path / "x.tar", [("a.jpg", jpeg(0)), ("a.json", [row(18), row(3)])])
    with pytest.raises(UserError, match=r"by the numbers 3, 18\. Give --classes .*--categories"):
        index_tars([tar])
    categories = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}, {"id": 90, "name": "hat"}]
    (tmp_path / "c.json").write_text(json.dumps({"categories": categories}))

    index_tars([tar], classes=Classes.from_categories(tmp_path / "c.json"))

    reader = ShardReader(tmp_path)
    assert reader.label_map.names == ("car", "dog", "hat")
    assert reader.label_map.source_ids == (3, 18, 90)
    assert [item.label for item in reader.record(0).objects] == [1, 0]


def test_json_that_is_no_annotation_can_be_left_alone(tmp_path):
    members = [("a.jpg", jpeg(0)), ("a.json", {"caption": "a cat"})]
    tar = write_tar(tmp_path / "x.tar", members)
    index = index_tars([tar], with_records=False)
    assert index.report["ignored_files"] == {"json": 1}
    assert index.record.size.tolist() == [0]
    assert ShardReader(tmp_path).record(0).objects == ()


def test_a_key_in_two_tars_is_refused(tmp_path):
    tars = [write_tar(tmp_path / f"{k}.tar", [("a.jpg", jpeg(k))]) for k in range(2)]
    with pytest.raises(UserError, match="1 keys stand in two tars: a in 0.tar and 1.tar"):
        index_tars(tars)


def test_nothing_is_written_over_unless_asked(tar):
    index_tars([tar])
    first = (tar.parent / INDEX_FILE).read_bytes()
    with pytest.raises(UserError, match="is there already.*--overwrite"):
        index_tars([tar])
    index_tars([tar], with_records=False, overwrite=True)
    assert (tar.parent / INDEX_FILE).read_bytes() != first
    assert not (tar.parent / "records.tar").exists()
    assert findings(tar.parent) == []


def test_a_tar_of_which_nothing_is_kept_is_no_shard(tmp_path):
    tars = [
        write_tar(tmp_path / "0.tar", [("a.jpg", b"bad")]),
        write_tar(tmp_path / "1.tar", [("b.jpg", jpeg(0))]),
    ]
    index = index_tars(tars, on_error="drop")
    assert [shard.name for shard in index.shards] == ["1.tar"]
    assert index.shard_of.tolist() == [0]
    assert ShardReader(tmp_path).image_bytes(0) == jpeg(0)
    with pytest.raises(UserError, match="No sample with an image to index: all were left out"):
        index_tars(tars[:1], on_error="drop", overwrite=True)


def test_wrong_calls_are_explained(tar, tmp_path):
    with pytest.raises(UserError, match="none twice"):
        index_tars([tar, tar.parent / "." / tar.name])
    with pytest.raises(UserError, match="cannot be read: No such file"):
        index_tars([tmp_path / "none.tar"])
    records = write_tar(tmp_path / "r/records.tar", [("a.jpg", jpeg(0))])
    with pytest.raises(UserError, match="Rename that tar"):
        index_tars([records], overwrite=True)
    with pytest.raises(UserError, match="on_error 'ignore'"):
        index_tars([tar], on_error="ignore")
