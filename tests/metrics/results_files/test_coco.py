"""COCO files: what is read, and what is said about what cannot be read."""

import json

import pytest

from lit_detseg.errors import UserError
from lit_detseg.metrics.results_files.coco import read_coco

TRIANGLE = [[0, 0, 10, 0, 0, 10]]


def annotation(**changes):
    usual = {"image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 20], "area": 50, "iscrowd": 0}
    return {"id": 1, "segmentation": TRIANGLE, **usual, **changes}


def detection(**changes):
    return {"image_id": 7, "category_id": 3, "bbox": [1.5, 0, 10, 20], "score": 0.5, **changes}


def annotations_with(*entries):
    return {
        "images": [{"id": i, "height": 40, "width": 40} for i in (42, 7)],
        "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": list(entries),
    }


@pytest.fixture
def read(tmp_path):
    def write_and_read(annotations, results, shape="bbox"):
        for name, content in (("gt.json", annotations), ("dets.json", results)):
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / name).write_text(text)
        return read_coco(tmp_path / "gt.json", tmp_path / "dets.json", shape)

    return write_and_read


def test_images_and_classes_are_numbered_by_id(read):
    files = read(
        annotations_with(annotation(image_id=42, category_id=90, iscrowd=1)), [detection()]
    )

    assert files.num_images == 2
    assert files.class_names == ("cat", "dog")
    assert (files.truth.image.item(), files.truth.label.item()) == (1, 1)
    assert (files.found.image.item(), files.found.label.item()) == (0, 0)
    assert files.truth.area.item() == 50
    assert files.truth.is_crowd.item()
    assert files.found.shape.tolist() == [[1.5, 0, 10, 20]]
    assert files.found.area.item() == 200


def test_no_results_and_no_annotations_are_legal(read):
    files = read(annotations_with(), [])
    assert len(files.found.image) == len(files.truth.image) == 0


def test_masks_may_be_polygons_or_rle(read):
    square = {"size": [40, 40], "counts": [0, 4, 36, 4, 1556]}  # 4 x 2 pixels at the top left
    files = read(
        annotations_with(annotation(), annotation(segmentation=square)),
        [{**detection(), "segmentation": square}],
        shape="segm",
    )
    assert files.found.area.tolist() == [8]
    assert len(files.truth.shape) == 2


@pytest.mark.parametrize(
    ("annotations", "results", "message"),
    [
        pytest.param("", [], r"gt\.json is empty", id="empty file"),
        pytest.param("{", [], r"gt\.json is not JSON \(.*line 1 column 2", id="not JSON"),
        pytest.param([], [], r"gt\.json holds a list.*swapped", id="results as annotations"),
        pytest.param({}, [], r"'images' of .*gt\.json is missing, not a list", id="no images"),
        pytest.param(annotations_with(), {}, r"dets\.json is an object, not a list", id="object"),
        pytest.param(annotations_with(), [5], r"entry 0 .* is a number, not an", id="a number"),
        pytest.param(
            annotations_with({"id": 1}),
            [],
            r"gt\.json: annotations\[0\] has no 'image_id'; its keys are id\.",
            id="missing key",
        ),
        pytest.param(
            annotations_with(annotation(area=None)),
            [],
            r"annotations\[0\] has area = None, which is not a finite number",
            id="no area",
        ),
        pytest.param(
            annotations_with(),
            [detection(), detection(score=float("nan"))],
            r"dets\.json: entry 1 .* has score = nan",
            id="NaN score",
        ),
        pytest.param(
            annotations_with(),
            [detection(bbox=[1, 2, 3])],
            r"entry 0 .* has bbox = \[1, 2, 3\], not four numbers",
            id="three corners",
        ),
        pytest.param(
            annotations_with(),
            [detection(image_id=8)],
            r"entry 0 .* has image_id = 8, which is not among the images",
            id="unknown image",
        ),
        pytest.param(
            annotations_with(),
            [detection(category_id="cat")],
            r"entry 0 .* has category_id = 'cat', which is not among the categories",
            id="unknown category",
        ),
        pytest.param(
            {**annotations_with(), "categories": [{"id": i, "name": "cat"} for i in (1, 2)]},
            [],
            r"gt\.json: two categories have the name cat",
            id="repeated class name",
        ),
        pytest.param(
            {**annotations_with(), "images": [{"id": 7}, {"id": "a"}]},
            [],
            r"the ids of images cannot be put in order",
            id="mixed ids",
        ),
    ],
)
def test_what_cannot_be_read_is_named(read, annotations, results, message):
    with pytest.raises(UserError, match=message):
        read(annotations, results)


@pytest.mark.parametrize("segmentation", [[[0, 0]], {"size": [40, 40]}, "text", None, {}, 5])
def test_a_broken_mask_is_named(read, segmentation):
    with pytest.raises(UserError, match=r"entry 0 .* has a segmentation that is not an RLE"):
        read(annotations_with(), [{**detection(), "segmentation": segmentation}], shape="segm")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gt\.json cannot be read: No such file"):
        read_coco(tmp_path / "gt.json", tmp_path / "dets.json")
