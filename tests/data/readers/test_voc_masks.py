"""VOC's segmentations on pictures drawn by hand."""

import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lit_detseg.data.packing.checks import Fault, Kind
from lit_detseg.data.readers.voc_masks import VOC_PALETTE, instances, read_indices, semantic
from lit_detseg.data.records import Object

SIZE = (20, 30)
NAMES = ("cat", "dog", "cow")


@pytest.fixture
def voc(tmp_path):
    """Two objects side by side in a border of void, and a third without a neighbour."""
    numbers, classes = np.zeros((2, *SIZE), np.uint8)
    numbers[2:8, 2:14] = 255
    numbers[3:7, 3:8], numbers[3:7, 8:13] = 1, 2
    classes[:] = numbers
    classes[numbers == 1], classes[numbers == 2] = 2, 3
    numbers[12:18, 20:24], classes[12:18, 20:24] = 4, 1
    write(tmp_path, "SegmentationObject", numbers)
    write(tmp_path, "SegmentationClass", classes)
    return tmp_path


def write(root, folder, indices, stem="a"):
    (root / folder).mkdir(exist_ok=True)
    picture = Image.fromarray(indices).convert("P")
    picture.putdata(indices.ravel().tolist())
    picture.putpalette(VOC_PALETTE.tobytes())
    picture.save(root / folder / f"{stem}.png")


def change(root, folder, rows, columns, value):
    path = root / folder / "a.png"
    indices = np.array(Image.open(path))
    indices[rows, columns] = value
    write(root, folder, indices)


def box(label, x1, y1, x2, y2):
    return Object((x1, y1, x2, y2), label, 0.0, is_difficult=True, is_truncated=True)


def test_the_palette_begins_as_vocs_does():
    # aeroplane, bicycle, bird, ..., tvmonitor and void, as VOC's documentation colours them
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 8: (64, 0, 0)}
    expected |= {15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {index: tuple(VOC_PALETTE[index].tolist()) for index in expected} == expected
    assert len(np.unique(VOC_PALETTE, axis=0)) == 256


def test_instances_have_tight_boxes_and_their_own_pixels(voc):
    found = instances(voc, "a", NAMES, [])

    assert found.size == SIZE
    assert found.faults == []
    assert [(item.label, item.box, item.area, item.source_id) for item in found.objects] == [
        (1, (3, 3, 8, 7), 20, 1),
        (2, (8, 3, 13, 7), 20, 2),
        (0, (20, 12, 24, 18), 24, 4),
    ]
    assert coco_mask.decode(found.objects[2].mask)[12:18, 20:24].all()
    void = coco_mask.decode(found.void)
    assert void.sum() == 6 * 12 - 40
    assert void[2, 2] == 1


def test_void_is_what_either_picture_leaves_open_but_no_pixel_of_an_instance(voc):
    change(voc, "SegmentationClass", 0, slice(0, 5), 255)
    change(voc, "SegmentationClass", 3, slice(3, 6), 255)
    found = instances(voc, "a", NAMES, [])
    assert found.faults == []
    assert coco_mask.decode(found.void)[[0, 3], 3].tolist() == [1, 0]
    assert found.objects[0].area == 20


def test_flags_come_from_the_object_of_the_same_place_in_the_xml_file(voc):
    annotated = [box(1, 2.4, 2, 9, 8), box(2, 8, 3, 13, 7), box(0, 20, 12, 24, 18)]
    found = instances(voc, "a", NAMES, annotated)
    # Instance 4 would be the fourth object.
    assert [item.is_difficult for item in found.objects] == [True, True, False]
    assert [item.is_truncated for item in found.objects] == [True, True, False]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(box(2, 3, 3, 8, 7), id="another class"),
        pytest.param(box(1, 20, 3, 25, 7), id="another place"),
        pytest.param(box(1, 3, 3, 8, 5), id="half of the pixels, not more"),
        pytest.param(Fault(Kind.ZERO_SIZE_BOX, "a.xml", ""), id="bad box"),
    ],
)
def test_an_instance_that_is_not_that_object_has_no_flags_and_is_no_fault(voc, other):
    found = instances(voc, "a", NAMES, [other])
    assert found.faults == []
    assert not found.objects[0].is_difficult


def test_an_instance_of_two_classes_is_a_fault(voc):
    change(voc, "SegmentationClass", 3, slice(3, 5), 1)

    found = instances(voc, "a", NAMES, [])

    assert [str(fault) for fault in found.faults] == [
        "SegmentationObject/a.png, object 1 (?): malformed object: of its 20 pixels "
        "2 of class 1, 18 of class 2 in SegmentationClass, not all of one class"
    ]
    assert [item.source_id for item in found.objects] == [2, 4]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(0, Kind.MALFORMED_OBJECT), (255, Kind.MALFORMED_OBJECT), (4, Kind.UNKNOWN_CLASS)],
)
def test_an_instance_without_a_class_of_the_label_map_is_a_fault(voc, value, kind):
    change(voc, "SegmentationClass", slice(3, 7), slice(3, 8), value)
    found = instances(voc, "a", NAMES, [])
    assert [(fault.kind, fault.item) for fault in found.faults] == [(kind, "object 1 (?)")]


def test_pictures_of_two_sizes_are_a_fault_of_the_image(voc):
    write(voc, "SegmentationClass", np.zeros((20, 31), np.uint8))
    found = instances(voc, "a", NAMES, [])
    (fault,) = found.faults
    assert fault.kind is Kind.WRONG_IMAGE_SIZE
    assert "(20, 30) (height, width) in SegmentationObject, (20, 31) in" in fault.detail


@pytest.mark.parametrize("folder", ["SegmentationObject", "SegmentationClass"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [(None, Kind.MISSING_ANNOTATION), (b"no picture", Kind.UNREADABLE_ANNOTATION)],
)
def test_a_bad_picture_is_a_fault_of_the_image(voc, folder, content, kind):
    path = voc / folder / "a.png"
    path.unlink() if content is None else path.write_bytes(content)

    (fault,) = instances(voc, "a", NAMES, []).faults

    assert (fault.kind, fault.file) == (kind, f"{folder}/a.png")
    if folder == "SegmentationClass":
        assert semantic(voc, "a", 4).faults == [fault]


def test_semantic_keeps_the_values_and_void(voc):
    found = semantic(voc, "a", num_classes=4)
    labels = np.asarray(Image.open(io.BytesIO(found.label_png)))
    np.testing.assert_array_equal(labels, read_indices(voc / "SegmentationClass/a.png"))
    assert (found.size, found.objects, found.faults) == (SIZE, (), [])
    assert {0, 1, 2, 3, 255} == {*np.unique(labels).tolist()}


def test_a_value_of_no_class_is_named_with_its_pixels(voc):
    (fault,) = semantic(voc, "a", num_classes=3).faults
    assert str(fault) == ("SegmentationClass/a.png: unknown pixel class: value 3 on 20 pixels")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_grey_and_vocs_colours_are_understood(voc, mode):
    path = voc / "SegmentationClass/a.png"
    expected = read_indices(path)
    picture = Image.fromarray(expected) if mode == "L" else Image.open(path).convert(mode)
    picture.save(path)
    assert Image.open(path).mode == mode
    np.testing.assert_array_equal(read_indices(path), expected)


def test_palettes_of_few_bits_are_indices_too(tmp_path):
    """A PNG of three colours takes two bits a pixel."""
    write(tmp_path, "SegmentationClass", np.array([[0, 1, 2, 1, 0]], np.uint8))
    path = tmp_path / "SegmentationClass/a.png"
    Image.open(path).save(path, bits=2)
    assert read_indices(path).tolist() == [[0, 1, 2, 1, 0]]


def test_other_colours_and_modes_are_refused_with_their_pixels(voc):
    path = voc / "SegmentationClass/a.png"
    colors = np.zeros((*SIZE, 3), np.uint8)
    colors[0, :7] = (129, 0, 0)
    Image.fromarray(colors).save(path)
    with pytest.raises(ValueError, match=r"7 pixels have the colour \(129, 0, 0\)"):
        read_indices(path)
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(path)
    with pytest.raises(ValueError, match="mode I;16"):
        read_indices(path)
