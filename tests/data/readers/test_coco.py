"""The COCO reader on annotation files written by hand."""

import hashlib
import json
import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from lit_detseg.data.packing.checks import Kind
from lit_detseg.data.readers import json_lists
from lit_detseg.data.readers.coco import CocoReader
from lit_detseg.data.records import Object
from lit_detseg.errors import UserError
from tests.data.shard_sets import each

SQUARE = [[1, 1, 5, 1, 5, 5, 1, 5]]


def image(number=7, **others):
    return {"id": number, "file_name": f"{number}.jpg", "height": 30, "width": 40, **others}


def annotation(number=100, image_id=7, category_id=18, bbox=(1, 2, 3, 4), **others):
    box = list(bbox)
    return {"id": number, "image_id": image_id, "category_id": category_id, "bbox": box, **others}


CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}]
CATEGORIES.append({"id": 18, "name": "dog"})


@pytest.fixture
def coco(tmp_path):
    """A function that writes an annotation file and opens it."""

    def write(annotations=(), images=None, categories=CATEGORIES):
        stored = {
            "images": [image()] if images is None else images,
            "annotations": list(annotations),
            "categories": categories,
        }
        (tmp_path / "instances.json").write_text(json.dumps(stored))
        return CocoReader(tmp_path, tmp_path / "instances.json")

    return write


def objects_and_faults(reader):
    assert len(reader) == 1
    sample, faults = reader.read(0)
    return sample.objects, faults


def test_ids_with_holes_become_labels_in_their_order(coco):
    reader = coco([annotation()])
    assert reader.label_map.names == ("person", "dog", "toothbrush")
    assert reader.label_map.source_ids == (1, 18, 90)


def test_an_annotation_becomes_an_object(coco):
    row = annotation(bbox=[1.5, 2, 3, 4], area=9.25, iscrowd=1, segmentation=SQUARE)

    reader = coco([row])

    expected = Object(
        (1.5, 2, 4.5, 6), 1, 9.25, [[1.0, 1, 5, 1, 5, 5, 1, 5]], is_crowd=True, source_id=100
    )
    assert objects_and_faults(reader) == ((expected,), [])


def test_an_image_keeps_its_number_and_gets_a_padded_key(coco):
    sample, _ = coco(images=[image(25)]).read(0)
    assert (sample.image_id, sample.source_id) == ("000000000025", 25)
    assert (sample.height, sample.width, sample.objects) == (30, 40, ())


def test_images_come_in_the_order_of_their_keys(coco):
    reader = coco(images=[image(100), image(9), image("b.1")])
    assert [sample.image_id for sample, _ in each(reader)] == [
        "000000000009",
        "000000000100",
        "b-1",
    ]


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_no_segmentation_is_no_mask_and_no_area_is_the_boxs(coco, nothing):
    (item,), faults = objects_and_faults(coco([annotation(segmentation=nothing)]))
    assert (item.mask, item.area, faults) == (None, 12.0, [])


def test_several_polygons_stay_several(coco):
    (item,), _ = objects_and_faults(coco([annotation(segmentation=SQUARE * 3)]))
    assert item.mask == SQUARE * 3
    assert all(isinstance(value, float) for polygon in item.mask for value in polygon)


def test_uncompressed_rle_becomes_the_compressed_one_of_the_same_mask(coco):
    mask = np.zeros((30, 40), np.uint8)
    mask[3:9, 5:20] = 1
    runs = [5 * 30 + 3, *([6, 24] * 14), 6, 20 * 30 + 21]
    rle = {"size": [30, 40], "counts": runs}

    (item,), _ = objects_and_faults(coco([annotation(segmentation=rle, iscrowd=1)]))

    assert isinstance(item.mask["counts"], str)
    np.testing.assert_array_equal(coco_mask.decode(item.mask), mask)


def test_compressed_rle_stays_as_it_is(coco):
    rle = coco_mask.encode(np.asfortranarray(np.eye(30, 40, dtype=np.uint8)))
    written = {"size": [30, 40], "counts": rle["counts"].decode()}
    (item,), _ = objects_and_faults(coco([annotation(segmentation=written)]))
    assert item.mask == written


@pytest.mark.parametrize("mask", [[[1, 2, 3]], {"size": [30, 40], "counts": [5]}, "x", [1, 2]])
def test_a_malformed_mask_is_left_to_the_checks(coco, mask):
    (item,), faults = objects_and_faults(coco([annotation(segmentation=mask)]))
    assert (item.mask, faults) == (mask, [])


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (annotation(category_id=2), Kind.UNKNOWN_CLASS),
        (annotation(category_id=None), Kind.UNKNOWN_CLASS),
        (annotation(bbox=[1, 2, 3]), Kind.MALFORMED_OBJECT),
        (annotation(bbox=[1, 2, 3, "4"]), Kind.MALFORMED_OBJECT),
        (annotation(area="big"), Kind.MALFORMED_OBJECT),
    ],
)
def test_a_bad_annotation_is_a_fault_and_its_neighbour_stays(coco, row, kind):
    objects, faults = objects_and_faults(coco([row, annotation(101)]))
    assert [item.source_id for item in objects] == [101]
    assert [(fault.kind, fault.file) for fault in faults] == [(kind, "instances.json")]
    assert faults[0].item.startswith("object 100")


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (annotation(image_id=8), Kind.UNKNOWN_IMAGE),
        (annotation(image_id=[7]), Kind.UNKNOWN_IMAGE),
        ("row", Kind.MALFORMED_OBJECT),
    ],
)
def test_an_annotation_of_no_image_is_a_fault_of_the_set(coco, row, kind):
    reader = coco([row, annotation()])
    assert [fault.kind for fault in reader.faults] == [kind]
    assert len(objects_and_faults(reader)[0]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "no list 'images' .found: a list"),
        ('{"images": []}', "no list 'annotations'"),
        ('{"images": [], "annotations": {}, "categories": []}', "no list 'annotations'"),
        ('{"images": [], "annotations": [], "categories": []}', "no categories"),
    ],
)
def test_a_file_in_another_format_is_refused_by_name(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=rf"a\.json.*{message}"):
        CocoReader(tmp_path, tmp_path / "a.json")


def test_missing_places_are_named(tmp_path):
    with pytest.raises(UserError, match="no annotation file"):
        CocoReader(tmp_path, tmp_path / "none.json")
    with pytest.raises(UserError, match="no folder"):
        CocoReader(tmp_path / "none", tmp_path / "none.json")


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], r"ids \[1\] twice"),
        ([{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "names a twice"),
        ([{"id": "1", "name": "a"}], "without a number or name"),
        ([{"id": 1}], "without a number or name"),
    ],
)
def test_categories_that_are_no_label_map_are_refused(coco, categories, message):
    with pytest.raises(UserError, match=message):
        coco(categories=categories)


@pytest.mark.parametrize(
    ("images", "message"),
    [([image(7), image(7)], "stands twice"), ([{"id": 7}], "without id or file_name")],
)
def test_images_that_cannot_be_told_apart_are_refused(coco, images, message):
    with pytest.raises(UserError, match=message):
        coco(images=images)


def test_one_annotation_that_stands_twice_is_one_object(coco):
    row = annotation(bbox=[1, 2, 3, 4], segmentation=SQUARE)
    objects, faults = objects_and_faults(coco([row, annotation(101), row]))
    assert [item.source_id for item in objects] == [100, 101]
    assert [str(fault) for fault in faults] == [
        "instances.json, object 100 (dog): duplicate object: "
        "it stands in annotations before, the same in everything"
    ]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([annotation(0), annotation(0, bbox=[5, 5, 2, 2])], id="an id used twice"),
        pytest.param([annotation(None), annotation(None)], id="no ids"),
        pytest.param([annotation(1), annotation(2)], id="two ids on one box"),
    ],
)
def test_objects_that_may_be_two_stay_two(coco, rows):
    objects, faults = objects_and_faults(coco(rows))
    assert (len(objects), faults) == (2, [])


def test_lists_may_come_in_any_order_with_anything_between(tmp_path):
    stored = {
        "annotations": [annotation(1, 8), annotation(2, 7), annotation(3, 8), annotation(4, 9)],
        "info": {"year": 2017, "more": [[1], {}]},
        "categories": CATEGORIES,
        "licenses": [{"id": 1}],
        "images": [image(8), image(7)],
    }
    (tmp_path / "a.json").write_text(json.dumps(stored, indent=2, ensure_ascii=False))

    reader = CocoReader(tmp_path, tmp_path / "a.json")

    numbers = [[item.source_id for item in sample.objects] for sample, _ in each(reader)]
    assert numbers == [[2], [1, 3]]
    assert [str(fault) for fault in reader.faults] == [
        "a.json, object 4: unknown image: image_id 9 is not in images"
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_names_in_any_script_come_through(tmp_path, encoding):
    rows = [{**image(number), "id": number, "file_name": f"{number}猫ü.jpg"} for number in ("ñ", 7)]
    annotations = [annotation(1, "ñ"), annotation(2, 7, note="😀"), annotation(3, "ñ")]
    stored = {"images": rows, "annotations": annotations, "categories": CATEGORIES}
    text = json.dumps(stored, ensure_ascii=False)
    (tmp_path / "a.json").write_bytes(text.encode(encoding))

    found = [sample for sample, _ in each(CocoReader(tmp_path, tmp_path / "a.json"))]

    assert [sample.image_id for sample in found] == ["000000000007", "ñ"]
    assert [sample.file_name for sample in found] == ["7猫ü.jpg", "ñ猫ü.jpg"]
    assert [[item.source_id for item in sample.objects] for sample in found] == [[2], [1, 3]]


@pytest.mark.parametrize("image_id", [7.0, True, 2**70, None, {"a": 1}])
def test_image_ids_are_compared_as_python_compares_them(coco, image_id):
    reader = coco([annotation(1, image_id)], images=[image(7), image(1), image(2**70)])
    owners = [sample.source_id for sample, _ in each(reader) if sample.objects]
    assert owners == [number for number in (7, 1, 2**70) if image_id == number]
    assert len(reader.faults) == (not owners)


def test_what_is_not_json_is_refused_with_its_place(tmp_path):
    (tmp_path / "a.json").write_text('{"images": [],\n "annotations": [{"id": 1,}]}')
    with pytest.raises(UserError, match=r"a.json is not valid JSON: .*line 2 column 27"):
        CocoReader(tmp_path, tmp_path / "a.json")


def test_a_file_that_is_replaced_while_it_is_read_does_not_matter(coco, tmp_path):
    reader = coco([annotation()])
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "other.json").replace(tmp_path / "instances.json")
    assert len(objects_and_faults(reader)[0]) == 1


def test_a_file_that_is_overwritten_while_it_is_read_is_named(coco, tmp_path):
    reader = coco([annotation()])
    (tmp_path / "instances.json").write_text("{}")
    with pytest.raises(UserError, match="instances.json was changed while it was read"):
        reader.read(0)


def test_the_index_will_name_the_file_by_its_content(coco, tmp_path):
    reader = coco([annotation()])
    content = (tmp_path / "instances.json").read_bytes()
    assert reader.source["annotations_sha256"] == hashlib.sha256(content).hexdigest()


def test_a_reader_holds_places_and_not_rows(tmp_path, monkeypatch):
    """3000 annotations of 700 bytes, 2 MB of JSON: parsed they take about ten times as much."""
    monkeypatch.setattr(json_lists, "CHUNK", 1 << 16)
    polygon = [[number + 0.25 for number in range(60)]]
    row = json.dumps(annotation(segmentation=polygon, note="x" * 200))
    images = ", ".join(json.dumps(image(number)) for number in range(1, 76))
    annotations = ", ".join(
        row.replace('"image_id": 7', f'"image_id": {number % 75 + 1}') for number in range(3000)
    )
    (tmp_path / "a.json").write_text(
        f'{{"images": [{images}], "annotations": [{annotations}], '
        f'"categories": {json.dumps(CATEGORIES)}}}'
    )

    tracemalloc.start()
    reader = CocoReader(tmp_path, tmp_path / "a.json")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    size = (tmp_path / "a.json").stat().st_size
    assert held < 0.1 * size
    assert peak < 0.8 * size
    assert len(reader.read(74)[0].objects) == 1  # the other 39 are equal to it
    assert len(reader.read(74)[1]) == 39
