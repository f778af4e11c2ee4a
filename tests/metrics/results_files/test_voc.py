"""VOC files: what is read, and what is said about what cannot be read."""

import pytest

from lit_detseg.errors import UserError
from lit_detseg.metrics.results_files.voc import read_voc


def voc_object(name="cat", corners=(1, 1, 10, 20), difficult=0):
    tags = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, corners, strict=True))
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{box}</bndbox></object>"
    )


@pytest.fixture
def read(tmp_path):
    def write_and_read(annotations, results, image_set=None):
        for folder, files in (("xml", annotations), ("dets", results)):
            (tmp_path / folder).mkdir()
            for name, text in files.items():
                (tmp_path / folder / name).write_text(text)
        if image_set is not None:
            (tmp_path / "set.txt").write_text(image_set)
        set_file = None if image_set is None else tmp_path / "set.txt"
        return read_voc(tmp_path / "xml", tmp_path / "dets", set_file)

    return write_and_read


CATS = {"a.xml": f"<annotation>{voc_object()}</annotation>", "b.xml": "<annotation/>"}
RESULTS = {"comp4_det_test_cat.txt": "a 0.5 1 1 10 20\nb 0.25 2 1 10 20\n"}


def test_corners_become_continuous_boxes(read):
    files = read(CATS, RESULTS)

    assert files.num_images == 2
    assert files.class_names == ("cat",)
    assert files.truth.shape.tolist() == [[0, 0, 10, 20]]  # XYWH
    assert files.found.shape.tolist() == [[0, 0, 10, 20], [1, 0, 9, 20]]
    assert files.found.image.tolist() == [0, 1]
    assert files.found.score.tolist() == [0.5, 0.25]
    assert files.warnings == ()


def test_the_image_set_chooses_and_its_flags_are_passed_over(read):
    files = read({**CATS, "c.xml": CATS["a.xml"]}, RESULTS, image_set="a 1\nb -1\n\n")
    assert files.num_images == 2
    assert len(files.truth.image) == 1


def test_difficult_is_a_flag(read):
    objects = voc_object(difficult=1) + voc_object(difficult="") + voc_object(difficult=0)
    files = read({"a.xml": f"<annotation>{objects}</annotation>"}, {"x_cat.txt": ""})
    assert files.truth.is_difficult.tolist() == [True, False, False]


def test_classes_without_a_file_and_files_without_a_class_are_told(read):
    objects = voc_object() + voc_object("traffic_light")
    files = read(
        {"a.xml": f"<annotation>{objects}</annotation>"},
        {"comp3_det_val_traffic_light.txt": "a 0.5 1 1 10 20", "comp3_det_val_cow.txt": ""},
    )
    assert files.class_names == ("cat", "traffic_light")
    assert files.found.label.tolist() == [1]
    odd, missing = files.warnings
    assert "comp3_det_val_cow.txt is of no class" in odd
    assert "no results file of class cat" in missing


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("a 0.5 1 1 10", r"_cat\.txt, line 2: 'a 0.5 1 1 10' is not", id="5 columns"),
        pytest.param("a nan 1 1 10 20", "line 2: .* five finite numbers", id="NaN score"),
        pytest.param("a 0.5 1 1 ten 20", "line 2: .* five finite numbers", id="not a number"),
        pytest.param("z 0.5 1 1 10 20", "line 2: image z is not in the set of 2", id="image"),
    ],
)
def test_a_bad_line_is_named(read, line, message):
    with pytest.raises(UserError, match=message):
        read(CATS, {"comp4_det_test_cat.txt": f"a 0.5 1 1 10 20\n{line}\n"})


@pytest.mark.parametrize(
    ("annotations", "results", "image_set", "message"),
    [
        pytest.param({}, RESULTS, None, "xml holds no XML file", id="no XML"),
        pytest.param({"a.xml": "<x"}, RESULTS, None, r"a\.xml is not XML", id="not XML"),
        pytest.param(CATS, RESULTS, "a\nq", r"q\.xml cannot be read: No such", id="missing XML"),
        pytest.param(CATS, RESULTS, "\n", r"set\.txt names no image", id="empty set"),
        pytest.param(CATS, {}, None, r"such as comp4_det_test_cat\.txt", id="no results"),
        pytest.param(
            CATS,
            {"comp3_det_test_cat.txt": "", "comp4_det_test_cat.txt": ""},
            None,
            "both of class cat",
            id="two files of a class",
        ),
        pytest.param(
            {"a.xml": f"<annotation>{voc_object(corners=(1, 1, 'x', 9))}</annotation>"},
            RESULTS,
            None,
            r"a\.xml: object 1 \(cat\) has the corners \['1', '1', 'x', '9'\]",
            id="a corner that is no number",
        ),
        pytest.param(
            {"a.xml": f"<annotation>{voc_object(name='')}</annotation>"},
            RESULTS,
            None,
            r"a\.xml: object 1 has no name",
            id="no name",
        ),
    ],
)
def test_what_cannot_be_read_is_named(read, annotations, results, image_set, message):
    with pytest.raises(UserError, match=message):
        read(annotations, results, image_set)
