"""Forms of annotations, each worked out by hand."""

import json

import pytest

from lit_detseg.data.foreign_tars.annotations import categories, parse, to_sample
from lit_detseg.data.foreign_tars.classes import Classes
from lit_detseg.data.records import Object

CLASSES = Classes.from_names(["cat", "dog"])


def objects(stored, classes=CLASSES):
    annotation = parse(json.dumps(stored).encode())
    sample, faults = to_sample(annotation, "k", b"", "x.tar, k", classes)
    assert faults == []
    return sample.objects


@pytest.mark.parametrize("field", ["category_name", "category", "category_id"])
@pytest.mark.parametrize("value", [1, "dog"])
def test_a_class_is_a_name_or_a_number_under_three_names(field, value):
    (item,) = objects([{"bbox": [1, 2, 3, 4], field: value}])
    assert item == Object((1.0, 2.0, 4.0, 6.0), 1, 12.0, source_id="#1")


def test_rows_keep_mask_area_crowd_and_number():
    polygon = [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0]]
    rows = [
        {"bbox": [1, 2, 3, 4], "category": "cat", "segmentation": polygon, "area": 6, "id": 5},
        {
            "bbox": [0, 0, 2, 1],
            "category": "dog",
            "iscrowd": 1,
            "segmentation": {"size": [1, 2], "counts": [0, 2]},
        },
    ]
    first, second = objects({"annotations": rows, "images": []})
    assert first == Object((1.0, 2.0, 4.0, 6.0), 0, 6.0, polygon, source_id=5)
    assert second.mask == {"size": [1, 2], "counts": "02"}  # compressed
    assert second.is_crowd


def test_two_lists_are_corners_and_labels():
    stored = {"boxes": [[1, 2, 4, 6], [0, 0, 1, 1]], "labels": [1, "cat"], "iscrowd": [0, 1]}
    assert objects(stored) == (
        Object((1.0, 2.0, 4.0, 6.0), 1, 12.0, source_id="#1"),
        Object((0.0, 0.0, 1.0, 1.0), 0, 1.0, is_crowd=True, source_id="#2"),
    )
    assert objects({"boxes": [], "labels": []}) == ()


def test_numbers_of_our_own_records_are_labels_not_category_ids():
    classes = Classes(CLASSES.label_map, {90: 0, 1: 1})
    stored = {"image_id": "k", "objects": [Object((0, 0, 1, 1), 0, 1.0, source_id=3).to_json()]}
    (item,) = objects(stored, classes)
    assert item.label == 0
    (item,) = objects([{"bbox": [0, 0, 1, 1], "category_id": 90}], classes)
    assert item.label == 0


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"3",
        b'{"caption": "a cat"}',
        b'{"boxes": [[1, 2, 3, 4]]}',
        b'{"boxes": [[1, 2, 3, 4]], "labels": []}',
        b'{"boxes": [], "labels": 1}',
    ],
)
def test_other_forms_are_refused(text):
    with pytest.raises(ValueError, match=r"form|equal length|Expecting"):
        parse(text)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        pytest.param({"bbox": [1, 2, 3], "category": "cat"}, "malformed_object", id="short"),
        pytest.param({"bbox": None, "category": "cat"}, "malformed_object", id="no box"),
        pytest.param(
            {"bbox": [1, 2, 3, "4"], "category": "cat"}, "malformed_object", id="text in a box"
        ),
        pytest.param(
            {"bbox": [1, 2, 3, 4], "category": "cat", "area": "big"}, "malformed_object", id="area"
        ),
        pytest.param({"bbox": [1, 2, 3, 4]}, "unknown_class", id="no class"),
        pytest.param({"bbox": [1, 2, 3, 4], "category_id": 2}, "unknown_class", id="number"),
        pytest.param({"bbox": [1, 2, 3, 4], "category_id": True}, "unknown_class", id="bool"),
        pytest.param("row", "unknown_class", id="no row"),
    ],
)
def test_a_row_that_is_no_object_hides_no_other(row, kind):
    annotation = parse(json.dumps([row, {"bbox": [1, 2, 3, 4], "category": "cat"}]).encode())
    sample, faults = to_sample(annotation, "k", b"", "x.tar, k", CLASSES)
    assert [str(fault.kind) for fault in faults] == [kind]
    assert [item.label for item in sample.objects] == [0]


def test_classes_are_listed_as_they_are_called():
    rows = [{"category": "cat"}, {"category_id": 3}, {"category_id": None}, "row"]
    assert list(categories(parse(json.dumps(rows).encode()))) == ["cat", 3]
