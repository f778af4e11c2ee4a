"""The VOC reader on data sets written by hand."""

import io

import numpy as np
import pytest
from PIL import Image

from lit_detseg.data.packing.checks import Kind
from lit_detseg.data.readers.voc import VOC_CLASSES, VocReader
from lit_detseg.data.records import Object
from lit_detseg.errors import UserError


def object_xml(name="cat", corners=("1", "1", "10", "20"), extra=""):
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return f"<object><name>{name}</name>{extra}<bndbox>{box}</bndbox></object>"


SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


@pytest.fixture
def voc(tmp_path):
    """A function that writes a VOC data set: annotation text by stem, lists by name."""

    def write(annotations, lists=None, images=None):
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main", "ImageSets/Segmentation"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for stem, text in annotations.items():
            (tmp_path / f"Annotations/{stem}.xml").write_text(f"<annotation>{text}</annotation>")
        for name in images if images is not None else [f"{stem}.jpg" for stem in annotations]:
            (tmp_path / "JPEGImages" / name).write_bytes(b"")
        for name, text in (lists or {"train": "\n".join(annotations)}).items():
            (tmp_path / f"ImageSets/{name if '/' in name else f'Main/{name}'}.txt").write_text(text)
        return tmp_path

    return write


def read(root, splits=("train",), classes=None):
    reader = VocReader(root, splits, classes)
    return [reader.read(rank) for rank in range(len(reader))]


def test_corners_counted_from_one_become_continuous(voc):
    flags = "<difficult>1</difficult><truncated>1</truncated>"
    root = voc({"a": SIZE + object_xml("cat", ("1", "1", "10", "20"), flags)})

    ((sample, faults),) = read(root)

    expected = Object(
        (0, 0, 10, 20), VOC_CLASSES.index("cat"), 200, None, False, True, True, source_id=1
    )
    assert sample.objects == (expected,)
    assert faults == []
    assert (sample.image_id, sample.height, sample.width) == ("a", 30, 40)
    assert sample.image == root / "JPEGImages/a.jpg"


def test_fractions_are_allowed_and_empty_flags_are_off(voc):
    root = voc({"a": object_xml("cat", ("2.5", "3", "10.5", "20"), "<difficult/><truncated/>")})

    ((sample, _),) = read(root)

    assert sample.objects[0].box == (1.5, 2.0, 10.5, 20.0)
    assert not sample.objects[0].is_difficult
    assert (sample.height, sample.width) == (None, None)


def test_parts_of_a_person_are_no_objects(voc):
    part = object_xml("head").replace("object>", "part>")
    root = voc({"a": object_xml("person", extra=part)})
    ((sample, _),) = read(root)
    assert [item.label for item in sample.objects] == [VOC_CLASSES.index("person")]


@pytest.mark.parametrize(
    ("xml", "kind"),
    [
        (object_xml("cat", ("504", "337", "504", "337")), Kind.ZERO_SIZE_BOX),
        (object_xml("cat", ("9", "1", "5", "5")), Kind.INVERTED_BOX),
        (object_xml("cat", ("nan", "1", "5", "5")), Kind.NON_FINITE_BOX),
        (object_xml("cat", ("", "1", "5", "5")), Kind.MALFORMED_OBJECT),
        ("<object><name>cat</name></object>", Kind.MALFORMED_OBJECT),
        (object_xml("zebra"), Kind.UNKNOWN_CLASS),
        (object_xml(""), Kind.UNKNOWN_CLASS),
    ],
)
def test_a_bad_object_is_a_fault_and_its_neighbour_stays(voc, xml, kind):
    root = voc({"a": object_xml("dog") + xml})

    ((sample, faults),) = read(root, classes=["cat", "dog"])

    assert [item.label for item in sample.objects] == [1]
    assert [(fault.kind, fault.file) for fault in faults] == [(kind, "Annotations/a.xml")]
    assert faults[0].item.startswith("object 2")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<object>", Kind.UNREADABLE_ANNOTATION),
        ("<size><width>wide</width><height>3</height></size>", Kind.UNREADABLE_ANNOTATION),
        (None, Kind.MISSING_ANNOTATION),
    ],
)
def test_a_bad_file_is_a_fault_of_its_image(voc, text, kind):
    root = voc({"a": text or "", "b": object_xml()})
    if text is None:
        (root / "Annotations/a.xml").unlink()

    (sample, faults), (_, other_faults) = read(root)

    assert (sample.image_id, sample.objects) == ("a", ())
    assert [fault.kind for fault in faults] == [kind]
    assert other_faults == []


def test_a_missing_image_is_left_to_the_packer(voc):
    ((sample, _),) = read(voc({"a": object_xml()}, images=[]))
    assert not sample.image.exists()


def test_images_are_found_by_stem(voc):
    root = voc({"a": object_xml(), "b": "", "c.2": ""}, images=["a.png", "b.JPEG", "c.2.jpg"])
    found = {sample.image_id: sample.image.name for sample, _ in read(root)}
    assert found == {"a": "a.png", "b": "b.JPEG", "c-2": "c.2.jpg"}


def test_two_images_of_one_stem_are_refused(voc):
    with pytest.raises(UserError, match=r"a\.jpg and a\.png"):
        read(voc({"a": object_xml()}, images=["a.jpg", "a.png"]))


def test_lists_may_have_a_flag_and_may_be_several(voc):
    lists = {"train": "b  1\na -1\n\n", "val": "c 0"}
    root = voc({"a": object_xml(), "b": "", "c": ""}, lists)
    assert [sample.image_id for sample, _ in read(root, ["train", "val"])] == ["a", "b", "c"]


def test_an_image_in_two_lists_is_refused(voc):
    root = voc({"a": object_xml()}, {"train": "a", "val": "a"})
    with pytest.raises(UserError, match="'a' stands twice"):
        read(root, ["train", "val"])


def test_a_list_of_another_folder_is_named_with_it(voc):
    root = voc({"a": object_xml()}, {"train": "a"})
    (root / "ImageSets/Segmentation/val.txt").write_text("a")
    assert len(read(root, ["Segmentation/val"])) == 1


@pytest.mark.parametrize(
    ("split", "message"), [("test", "Lists in ImageSets/Main: empty, train"), ("empty", "no image")]
)
def test_a_list_that_gives_nothing_says_so(voc, split, message):
    root = voc({"a": object_xml()}, {"train": "a", "empty": "\n"})
    with pytest.raises(UserError, match=message):
        read(root, [split])


def test_a_folder_that_is_no_voc_data_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="no folder JPEGImages"):
        VocReader(tmp_path, ["train"])


def test_classes_are_those_of_voc_when_no_other_is_found(voc):
    root = voc({"a": object_xml("dog"), "b": object_xml("cat")})
    reader = VocReader(root, ["train"])
    assert reader.label_map.names == VOC_CLASSES == tuple(sorted(VOC_CLASSES))
    assert len(VOC_CLASSES) == 20


def test_other_classes_come_from_all_annotation_files_so_that_splits_agree(voc):
    annotations = {"a": object_xml("wheel"), "b": object_xml("axle"), "c": "<object>"}
    root = voc(annotations, {"train": "a", "val": "b"})
    for split in ("train", "val"):
        assert VocReader(root, [split]).label_map.names == ("axle", "wheel")


def test_given_classes_keep_their_order(voc):
    root = voc({"a": object_xml("cat")})
    reader = VocReader(root, ["train"], ["dog", "cat"])
    assert reader.label_map.names == ("dog", "cat")


def test_no_class_at_all_is_refused(voc):
    with pytest.raises(UserError, match="--classes"):
        VocReader(voc({"a": SIZE}), ["train"])


@pytest.fixture
def segmented(voc):
    """One image of 40 x 30 pixels with one dog; the XML file says that it is difficult."""
    difficult = object_xml("dog", ("5", "5", "20", "20"), "<difficult>1</difficult>")
    root = voc({"a": SIZE + difficult, "b": ""}, {"Segmentation/val": "a", "train": "a\nb"})
    pixels = np.zeros((30, 40), np.uint8)
    pixels[4:20, 4:20] = 1
    for folder, value in (("SegmentationObject", 1), ("SegmentationClass", 12)):
        (root / folder).mkdir()
        Image.fromarray(pixels * value).save(root / folder / "a.png")
    return root


def test_instances_come_with_masks_tight_boxes_and_flags(segmented):
    reader = VocReader(segmented, ["val"], task="instances")

    sample, faults = reader.read(0)

    assert (len(reader), faults) == (1, [])
    (item,) = sample.objects
    assert (reader.label_map.names, item.label) == (VOC_CLASSES, VOC_CLASSES.index("dog"))
    assert (item.box, item.area, item.is_difficult) == ((4, 4, 20, 20), 256, True)
    assert (sample.height, sample.width) == (30, 40)
    assert sample.void is sample.label_png is None


def test_semantic_labels_have_the_background_as_their_first_entry(segmented):
    reader = VocReader(segmented, ["val"], task="semantic")

    sample, faults = reader.read(0)

    assert reader.label_map.names == ("background", *VOC_CLASSES)
    labels = np.asarray(Image.open(io.BytesIO(sample.label_png)))
    assert reader.label_map.names[labels[4, 4]] == "dog"
    assert (labels[0, 0], sample.objects, faults) == (0, (), [])


def test_a_bad_xml_file_is_a_fault_of_instances_and_a_missing_one_only_means_no_flags(segmented):
    path = segmented / "Annotations/a.xml"
    path.write_text("<annotation>")
    _, (fault,) = VocReader(segmented, ["val"], task="instances").read(0)
    assert (fault.kind, fault.file) == (Kind.UNREADABLE_ANNOTATION, "Annotations/a.xml")
    path.unlink()
    sample, faults = VocReader(segmented, ["val"], task="instances").read(0)
    assert (faults, sample.objects[0].is_difficult) == ([], False)


@pytest.mark.parametrize("task", ["instances", "semantic"])
def test_lists_of_other_folders_may_name_images_without_masks(segmented, task):
    reader = VocReader(segmented, ["Main/train"], task=task)
    assert reader.read(0)[1] == []
    sample, (fault,) = reader.read(1)
    assert (sample.image_id, fault.kind) == ("b", Kind.MISSING_ANNOTATION)


def test_given_classes_name_the_values_from_one_on(segmented):
    names = [f"class {value}" for value in range(1, 13)]
    reader = VocReader(segmented, ["val"], names, task="instances")
    assert reader.read(0)[0].objects[0].label == 11
    assert VocReader(segmented, ["val"], names, "semantic").label_map.names[12] == "class 12"


def test_a_task_without_its_folders_is_refused(voc):
    root = voc({"a": ""}, {"Segmentation/val": "a"})
    with pytest.raises(UserError, match="no folder SegmentationObject"):
        VocReader(root, ["val"], task="instances")
    with pytest.raises(UserError, match="no folder SegmentationClass"):
        VocReader(root, ["val"], task="semantic")
    with pytest.raises(UserError, match="no task 'boxes'. Choose one of detection, instances"):
        VocReader(root, ["val"], task="boxes")
