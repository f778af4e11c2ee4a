"""Faults of records, planted one by one into a set that has no other."""

import json
from dataclasses import replace

import pytest

from lit_detseg.data.records import Record
from lit_detseg.data.verification.records import check_record
from tests.data.verification.crafted import (
    ANIMALS,
    CAT,
    DOG,
    HEIGHT,
    SQUARE,
    WIDTH,
    clean_samples,
    findings,
    rle,
    sample,
    write_set,
)

NAN = float("nan")


def with_second(item):
    """A set whose second sample has this object."""
    samples = clean_samples()
    samples[1] = sample("b", 1, CAT, item)
    return samples


OBJECTS = {
    "non_finite_box": replace(DOG, box=(0.0, NAN, 20.0, 25.0)),
    "inverted_box": replace(DOG, box=(20.0, 5.0, 0.0, 25.0)),
    "zero_size_box": replace(DOG, box=(20.0, 5.0, 20.0, 25.0)),
    "box_outside_image": replace(DOG, box=(0.0, 5.0, 20.0, HEIGHT + 1.5)),
    "malformed_mask": replace(DOG, mask=[[1.0, 2.0, 3.0]]),
    "empty_mask": replace(DOG, mask=rle(0, 0)),
    "flat_polygon": replace(DOG, mask=[[0.0, 5.0, 20.0, 25.0, 10.0, 15.0]]),
    "mask_apart_from_box": replace(DOG, mask=[[40.0, 5.0, 60.0, 5.0, 60.0, 25.0, 40.0, 25.0]]),
    "loose_box": replace(DOG, mask=[[0.0, 5.0, 17.5, 5.0, 17.5, 25.0, 0.0, 25.0]]),
    "crowd_of_polygons": replace(CAT, box=(9.0, 9.0, 30.0, 30.0), is_crowd=True, source_id="d"),
    "area_larger_than_box": replace(DOG, area=21.0 * 21.0 + 1),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_bad_object_is_found_where_it_is(tmp_path, kind):
    folder = write_set(tmp_path / "set", with_second(OBJECTS[kind]))
    name = "object d (cat)" if kind == "crowd_of_polygons" else "object d (dog)"
    assert findings(folder) == [(kind, "shard-000000.tar", "b", name)]


@pytest.mark.parametrize(
    ("box", "height"),
    [
        pytest.param((-1.0, 5.0, 20.0, 25.0), HEIGHT, id="a pixel over the border"),
        pytest.param((0.0, 5.0, 20.0, 25.0), HEIGHT, id="on the border"),
    ],
)
def test_boxes_may_overshoot_by_rounding(tmp_path, box, height):
    folder = write_set(tmp_path / "set", with_second(replace(DOG, box=box)))
    assert findings(folder) == []


@pytest.mark.parametrize("area", [0.0, -1.0, NAN])
def test_an_area_that_cannot_be_is_found(tmp_path, area):
    folder = write_set(tmp_path / "set", with_second(replace(DOG, area=area)))
    assert findings(folder) == [("bad_area", "shard-000000.tar", "b", "object d (dog)")]


def test_an_area_may_be_that_of_a_box_one_pixel_larger(tmp_path):
    folder = write_set(tmp_path / "set", with_second(replace(DOG, area=21.0 * 21.0)))
    assert findings(folder) == []


def test_the_same_object_twice_is_found_whatever_its_number(tmp_path):
    for name, number in (("same", 7), ("other", 8)):
        folder = write_set(tmp_path / name, with_second(replace(CAT, source_id=number)))
        expected = ("duplicate_object", "shard-000000.tar", "b", f"object {number} (cat)")
        assert findings(folder) == [expected]


def test_two_classes_may_share_a_box(tmp_path):
    folder = write_set(tmp_path / "set", with_second(replace(CAT, label=1)))
    assert findings(folder) == []


def test_an_object_without_a_number_is_named_by_its_place(tmp_path):
    bad = replace(DOG, box=(20.0, 5.0, 0.0, 25.0), source_id=None)
    folder = write_set(tmp_path / "set", with_second(bad))
    assert findings(folder) == [("inverted_box", "shard-000000.tar", "b", "object #2 (dog)")]


def test_an_unknown_class_is_found(tmp_path):
    folder = write_set(tmp_path / "set", with_second(replace(DOG, label=2)))
    assert findings(folder) == [("unknown_class", "shard-000000.tar", "b", "object d (?)")]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        pytest.param({"image_id": "x"}, "wrong_image_id", id="another image's"),
        pytest.param({"height": HEIGHT + 1}, "wrong_image_size", id="height"),
        pytest.param({"width": WIDTH - 1}, "wrong_image_size", id="width"),
        pytest.param({"void": {"size": [2, 2], "counts": "04"}}, "malformed_void", id="void size"),
        pytest.param({"void": [[1.0, 2.0]]}, "malformed_void", id="void no RLE"),
    ],
)
def test_a_record_that_does_not_fit_its_image_is_found(tmp_path, changes, kind):
    samples = clean_samples()
    one = samples[2]
    key = changes.get("image_id", "c")
    samples[2] = one._replace(record=replace(one.record, **changes))

    # The writer names the files by the record; the index and the tar's names say "c" here.
    folder = write_set(tmp_path / "set", samples)
    expected = [(kind, "shard-000001.tar", "c", "")]
    if kind == "wrong_image_id":
        rename_sample(folder / "shard-000001.tar", key, "c")
        expected.insert(0, ("wrong_checksum", "shard-000001.tar", "", ""))
        reindex_key(folder, key, "c")

    assert findings(folder) == expected


def rename_sample(path, old, new):
    """Give the members of a sample another name, their content left alone."""
    data = bytearray(path.read_bytes())
    for suffix in (".png", ".json"):
        at = data.index(f"{old}{suffix}\0".encode())
        data[at : at + 1] = new.encode()
        header = data[at : at + 512]
        header[148:156] = b" " * 8
        data[at + 148 : at + 156] = f"{sum(header):06o}\0 ".encode()
    path.write_bytes(data)


def reindex_key(folder, old, new):
    index = folder / "index.json"
    index.write_text(index.read_text().replace(f'"{old}"', f'"{new}"'))


def record_with(**changes):
    stored = Record("k", HEIGHT, WIDTH, (CAT, DOG)).to_json()
    return json.dumps({**stored, **changes}).encode()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff\xfe{}", id="no text"),
        pytest.param(b'{"image_id": "k", "height": 4, "width": 5}', id="no objects"),
        pytest.param(record_with(height="40"), id="height is text"),
        pytest.param(record_with(objects={}), id="objects is no list"),
        pytest.param(b"[" * 100_000, id="nested without end"),
    ],
)
def test_what_is_no_record_is_one_finding(data):
    found = check_record(data, "k", (HEIGHT, WIDTH), ANIMALS)
    assert [one.kind for one in found.problems] == ["unreadable_annotation"]
    assert found.labels is None


@pytest.mark.parametrize(
    ("row", "name"),
    [
        pytest.param("text", "object #2", id="no object"),
        pytest.param({"label": 0, "area": 1}, "object #2 (cat)", id="no box"),
        pytest.param({"box": [1, 2, 3], "label": 0, "area": 1}, "object #2 (cat)", id="short box"),
        pytest.param({"box": [1, 2, 3, True], "label": 0, "area": 1}, "object #2 (cat)", id="bool"),
        pytest.param({"box": [1, 2, 3, 4], "label": 0}, "object #2 (cat)", id="no area"),
        pytest.param({"box": [1, 2, 3, 4], "area": 1}, "object #2 (?)", id="no label"),
        pytest.param({"box": [1, 2, 3, 4], "label": 0.0, "area": 1}, "object #2 (?)", id="float"),
        pytest.param(
            {"box": [1, 2, 3, 4], "label": 0, "area": 1, "hat": 1}, "object #2 (cat)", id="field"
        ),
    ],
)
def test_an_object_of_the_wrong_form_hides_no_other(row, name):
    rows = [CAT.to_json(), row, DOG.to_json()]
    found = check_record(record_with(objects=rows), "k", (HEIGHT, WIDTH), ANIMALS)
    assert [(one.kind, one.object) for one in found.problems] == [("malformed_object", name)]
    assert [item.label for item in found.objects] == [0, 1]


def test_an_image_of_another_size_is_one_fault_not_one_for_each_box():
    found = check_record(record_with(), "k", (10, 10), ANIMALS)
    assert [one.kind for one in found.problems] == ["wrong_image_size"]


def test_a_record_of_an_unreadable_image_is_still_checked():
    bad = replace(CAT, box=(30.0, 1.0, 10.0, 2.0), mask=SQUARE)
    found = check_record(record_with(objects=[bad.to_json()]), "k", None, ANIMALS)
    assert [one.kind for one in found.problems] == ["inverted_box"]
