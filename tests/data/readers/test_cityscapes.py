"""The Cityscapes reader on a layout drawn by hand."""

import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lit_detseg.data.packing.checks import Kind
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.cityscapes import CityscapesReader
from lit_detseg.errors import UserError
from tests.data.readers.drawn_cityscapes import (
    SIZE,
    annotation_path,
    rectangle,
    write_ids,
    write_image,
    write_polygons,
)

NAME = "ulm_000000_000019"


@pytest.fixture
def city(tmp_path):
    """One image with a car behind a person, a group of bicycles, a caravan, void, a fallen sign."""
    write_image(tmp_path, NAME)
    objects = [
        rectangle("road", 0, 0, 59, 39),
        rectangle("car", 0, 0, 19, 9),
        rectangle("person", 10, 0, 12, 9),
        rectangle("bicyclegroup", 30, 0, 39, 9),
        rectangle("bicyclegroup", 50, 0, 59, 9),
        rectangle("caravan", 0, 20, 9, 29),
        rectangle("ego vehicle", 0, 35, 59, 39),
    ]
    write_polygons(tmp_path, NAME, objects)
    ids = np.full(SIZE, 7, np.uint16)
    ids[:10, :20], ids[:10, 10:13] = 26000, 24000
    ids[:10, 30:40] = ids[:10, 50:] = 33
    ids[20:30, :10], ids[35:] = 29000, 1
    write_ids(tmp_path, NAME, ids)
    labels = np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)
    write_ids(tmp_path, NAME, labels, end="labelIds.png")
    return tmp_path


def decoded(mask):
    return coco_mask.decode(mask).astype(bool)


@pytest.mark.parametrize("annotations", ["polygons", "instance_ids"])
def test_things_are_objects_of_what_is_visible_and_groups_are_crowds(city, annotations):
    reader = CityscapesReader(city, ["train"], annotations=annotations)

    sample, faults = reader.read(0)

    assert (len(reader), faults, reader.faults) == (1, [], ())
    assert (sample.image_id, sample.height, sample.width) == (NAME, 40, 60)
    found = [
        (reader.label_map.names[item.label], item.box, item.area, item.is_crowd, item.source_id)
        for item in sample.objects
    ]
    assert found == [
        ("bicycle", (30, 0, 60, 10), 200, True, 33),
        ("person", (10, 0, 13, 10), 30, False, 24000),
        ("car", (0, 0, 20, 10), 170, False, 26000),
    ]
    car = decoded(sample.objects[2].mask)
    assert car[:10, :10].all()
    assert not car[:10, 10:13].any()


@pytest.mark.parametrize("annotations", ["polygons", "instance_ids"])
def test_void_is_what_the_evaluation_ignores(city, annotations):
    """The own car; not the single caravan, which the evaluation takes for background."""
    sample, _ = CityscapesReader(city, ["train"], annotations=annotations).read(0)
    void = decoded(sample.void)
    assert void[35:].all()
    assert not void[:35].any()


def test_semantic_labels_are_train_ids(city):
    reader = CityscapesReader(city, ["train"], task="semantic")

    sample, faults = reader.read(0)

    labels = np.asarray(Image.open(io.BytesIO(sample.label_png)))
    assert (labels.dtype, labels.shape, faults) == (np.uint8, SIZE, [])
    assert len(reader.label_map) == 19
    assert [reader.label_map.names[labels[0, x]] for x in (0, 10, 25, 30)] == [
        *("car", "person", "road", "bicycle"),
    ]
    assert labels[20, 0] == labels[39, 0] == 255  # caravan, ego vehicle
    assert (sample.objects, sample.void) == ((), None)


def test_a_label_outside_of_the_table_is_named_with_its_pixels(city):
    labels = np.full(SIZE, 7, np.uint8)
    labels[0, :5] = 77
    write_ids(city, NAME, labels, end="labelIds.png")

    sample, (fault,) = CityscapesReader(city, ["train"], task="semantic").read(0)

    assert str(fault) == (
        f"gtFine/train/ulm/{NAME}_gtFine_labelIds.png: unknown pixel class: value 77 on 5 pixels"
    )
    assert (np.asarray(Image.open(io.BytesIO(sample.label_png)))[0, :6] == [255] * 5 + [0]).all()


def test_label_ids_of_another_mode_are_refused(city):
    write_ids(city, NAME, np.zeros(SIZE, np.uint16), end="labelIds.png")
    _, (fault,) = CityscapesReader(city, ["train"], task="semantic").read(0)
    assert fault.kind is Kind.UNREADABLE_ANNOTATION
    assert "not of 8-bit grey" in fault.detail


@pytest.mark.parametrize(
    ("annotations", "end"), [("polygons", "polygons.json"), ("instance_ids", "instanceIds.png")]
)
@pytest.mark.parametrize(
    ("content", "kind"),
    [(None, Kind.MISSING_ANNOTATION), (b"no annotation", Kind.UNREADABLE_ANNOTATION)],
)
def test_a_bad_annotation_file_is_a_fault_of_its_image(city, annotations, end, content, kind):
    path = annotation_path(city, NAME, end)
    path.unlink() if content is None else path.write_bytes(content)

    sample, (fault,) = CityscapesReader(city, ["train"], annotations=annotations).read(0)

    assert (fault.kind, fault.file) == (kind, f"gtFine/train/ulm/{NAME}_gtFine_{end}")
    assert (sample.objects, sample.height) == ((), None)


def test_a_truncated_png_is_a_fault(city):
    path = annotation_path(city, NAME, "instanceIds.png")
    path.write_bytes(path.read_bytes()[:-30])
    _, (fault,) = CityscapesReader(city, ["train"], annotations="instance_ids").read(0)
    assert fault.kind is Kind.UNREADABLE_ANNOTATION


def test_annotations_without_an_image_are_named(city):
    write_polygons(city, "ulm_000001_000019", [])
    (fault,) = CityscapesReader(city, ["train"]).faults
    assert str(fault) == (
        "gtFine/train/ulm/ulm_000001_000019_gtFine_polygons.json: unknown image: "
        "there is no image of it in leftImg8bit"
    )


def test_images_come_in_the_order_of_their_keys_over_splits_and_cities(city):
    for name, split in (("zurich_1_1", "train"), ("bonn_1_1", "val"), ("aachen_2_1", "train")):
        write_image(city, name, split)
        write_polygons(city, name, [], split)
    reader = CityscapesReader(city, ["train", "val"])
    keys = [reader.read(rank)[0].image_id for rank in range(len(reader))]
    assert keys == ["aachen_2_1", "bonn_1_1", NAME, "zurich_1_1"]


def test_the_test_split_is_images_only_whatever_its_files_say(city):
    write_image(city, "berlin_1_1", "test")
    write_polygons(city, "berlin_1_1", [rectangle("out of roi", 0, 0, 59, 39)], "test")

    sample, faults = CityscapesReader(city, ["test"]).read(0)

    assert (sample.objects, sample.void, sample.label_png, faults) == ((), None, None, [])
    with pytest.raises(UserError, match="Pack it into a set of its own"):
        CityscapesReader(city, ["train", "test"])


def test_a_folder_that_is_not_there_says_what_there_is(city):
    with pytest.raises(UserError, match="found: train"):
        CityscapesReader(city, ["vall"])
    write_image(city, "bonn_1_1", "train_extra")
    with pytest.raises(UserError, match="no folder gtFine/train_extra.*there are: train"):
        CityscapesReader(city, ["train_extra"])
    with pytest.raises(UserError, match="no task 'panoptic'"):
        CityscapesReader(city, ["train"], task="panoptic")


def test_instances_and_labels_can_be_packed(city):
    index = pack(CityscapesReader(city, ["train"]), city / "out")
    assert index.keys == (NAME,)
    assert index.class_counts == ({0: 1, 2: 1, 7: 1},)
    index = pack(CityscapesReader(city, ["train"], task="semantic"), city / "labels")
    # Of 2400 pixels 100 are of a caravan and 300 of the own car.
    assert index.pixel_counts == ({0: 1600, 11: 30, 13: 170, 18: 200},)
