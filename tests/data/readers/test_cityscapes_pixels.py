"""Instance ids from PNGs and from polygons, worked out by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from lit_detseg.data.packing.checks import Kind
from lit_detseg.data.readers.cityscapes_pixels import (
    class_of,
    draw_instance_ids,
    read_instance_ids,
)
from tests.data.readers.drawn_cityscapes import SIZE, rectangle, write_ids, write_polygons


def drawn(folder, objects):
    return draw_instance_ids(write_polygons(folder, "a_0_0", objects), "a.json")


def counts(numbers):
    return dict(
        zip(*(side.tolist() for side in np.unique(numbers, return_counts=True)), strict=True)
    )


def test_later_polygons_lie_over_earlier_ones_and_instances_count_from_zero(tmp_path):
    numbers, faults = drawn(tmp_path, [rectangle("car", 0, 0, 9, 9), rectangle("car", 5, 0, 14, 9)])

    # Each is 10 x 10 pixels, corners included; half of the first is behind the second.
    assert counts(numbers) == {0: 40 * 60 - 150, 26000: 50, 26001: 100}
    assert (numbers[:10, :5] == 26000).all()
    assert faults == []


def test_groups_stuff_and_deleted_objects(tmp_path):
    numbers, faults = drawn(
        tmp_path,
        [
            rectangle("cargroup", 0, 0, 9, 9),
            rectangle("polegroup", 10, 0, 19, 9),  # a class of its own
            rectangle("road", 20, 0, 29, 9),
            rectangle("skygroup", 30, 0, 39, 9),
            rectangle("bus", 0, 0, 59, 39, deleted=1),
            rectangle("bus", 40, 0, 49, 9, deleted=0),
            rectangle("caravan", 50, 0, 59, 9),
        ],
    )
    assert numbers[0, ::10].tolist() == [26, 18, 7, 23, 28000, 29000]
    assert faults == []


def test_a_licence_plate_leaves_the_car_whole(tmp_path):
    plate = rectangle("license plate", 2, 2, 5, 5)
    numbers, _ = drawn(tmp_path, [rectangle("car", 0, 0, 9, 9), plate])
    assert counts(numbers)[26000] == 100


def test_an_instance_that_is_covered_keeps_its_number(tmp_path):
    numbers, _ = drawn(tmp_path, [rectangle("person", 0, 0, 4, 4), rectangle("person", 0, 0, 9, 9)])
    assert counts(numbers) == {0: 2300, 24001: 100}


def test_an_unknown_class_is_a_fault_and_its_pixels_are_unlabeled(tmp_path):
    numbers, (fault,) = drawn(
        tmp_path, [rectangle("road", 0, 0, 59, 39), rectangle("zebra", 0, 0, 9, 9)]
    )
    assert str(fault) == (
        "a.json, object 1 (zebra): unknown class: 'zebra' is no class of Cityscapes"
    )
    assert counts(numbers) == {0: 100, 7: 2300}


@pytest.mark.parametrize(
    "polygon",
    [None, [], [[1, 1]], [[1, 1], [2]], [[1, 1], ["a", 2]], [[1, 1], [float("nan"), 2]], 5],
)
def test_a_bad_polygon_is_a_fault_of_its_object(tmp_path, polygon):
    numbers, (fault,) = drawn(
        tmp_path, [{"label": "car", "polygon": polygon}, rectangle("car", 0, 0, 9, 9)]
    )
    assert (fault.kind, fault.item) == (Kind.MALFORMED_OBJECT, "object 0 (car)")
    assert counts(numbers)[26000] == 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", "a JSON list"),
        (json.dumps({"imgHeight": 40, "imgWidth": 10**9, "objects": []}), "1000000000"),
        (json.dumps({"imgHeight": 40, "objects": []}), r"imgHeight and imgWidth are \[40, None\]"),
        (json.dumps({"imgHeight": 40, "imgWidth": 60}), "no list of objects"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        draw_instance_ids(path, "a.json")


def test_instance_ids_are_read_as_they_are(tmp_path):
    ids = np.full(SIZE, 7, np.uint16)
    ids[:2, :3] = 33002
    write_ids(tmp_path, "a_0_0", ids)

    numbers, faults = read_instance_ids(next(tmp_path.rglob("*.png")), "a.png")

    np.testing.assert_array_equal(numbers, ids)
    assert faults == []


def test_a_value_of_no_class_is_a_fault_with_its_pixels(tmp_path):
    ids = np.full(SIZE, 7, np.uint16)
    ids[:2, :3], ids[5, 5] = 34000, 999
    write_ids(tmp_path, "a_0_0", ids)

    numbers, faults = read_instance_ids(next(tmp_path.rglob("*.png")), "a.png")

    assert [str(fault) for fault in faults] == [
        "a.png: unknown pixel class: value 999 on 1 pixels",
        "a.png: unknown pixel class: value 34000 on 6 pixels",
    ]
    assert counts(numbers) == {0: 7, 7: 2393}


def test_label_ids_are_no_instance_ids(tmp_path):
    """8 bits: cars would all be one group."""
    Image.fromarray(np.full(SIZE, 26, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="mode L, not of 16-bit grey"):
        read_instance_ids(tmp_path / "a.png", "a.png")


@pytest.mark.parametrize(("number", "label"), [(26, 26), (999, 999), (1000, 1), (26014, 26)])
def test_the_class_is_in_the_thousands(number, label):
    assert class_of(number) == label
