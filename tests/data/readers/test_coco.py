"""The COCO reader on annotation files written by hand."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from lit_detseg.data.packing.checks import Kind
from lit_detseg.data.readers.coco import CocoReader
from lit_detseg.data.records import Object
from lit_detseg.errors import UserError

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
    ((sample, faults),) = reader
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
    ((sample, _),) = coco(images=[image(25)])
    assert (sample.image_id, sample.source_id) == ("000000000025", 25)
    assert (sample.height, sample.width, sample.objects) == (30, 40, ())


def test_images_come_in_the_order_of_their_keys(coco):
    reader = coco(images=[image(100), image(9), image("b.1")])
    assert [sample.image_id for sample, _ in reader] == ["000000000009", "000000000100", "b-1"]


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
