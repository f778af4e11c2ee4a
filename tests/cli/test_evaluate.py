"""`lit-detseg evaluate` as typed."""

import json

import pytest

from lit_detseg.cli.evaluate import main
from lit_detseg.errors import UserError


@pytest.fixture
def coco_files(tmp_path):
    """Two cats of 20 x 20 pixels, one of them found exactly, and a dog that nobody draws."""
    cats = [
        {"id": i, "image_id": 1, "category_id": 1, "area": 400, "iscrowd": 0, "bbox": box}
        for i, box in enumerate([[0, 0, 20, 20], [50, 0, 20, 20]], start=1)
    ]
    annotations = {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": cats,
    }
    found = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20], "score": 0.5}]
    return write(tmp_path, annotations, found)


@pytest.fixture
def voc_files(tmp_path):
    """One cat of 20 x 20 pixels, found exactly."""
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax>"
    cat, dog = (
        f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>" for name in ("cat", "dog")
    )
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml/a.xml").write_text(f"<annotation>{cat}{dog}</annotation>")
    (tmp_path / "dets").mkdir()
    (tmp_path / "dets/comp4_det_test_cat.txt").write_text("a 0.5 1 1 20 20")
    return ["voc", "--annotations", str(tmp_path / "xml"), "--results", str(tmp_path / "dets")]


def write(folder, annotations, found):
    (folder / "gt.json").write_text(json.dumps(annotations))
    (folder / "dets.json").write_text(json.dumps(found))
    annotations, results = str(folder / "gt.json"), str(folder / "dets.json")
    return ["coco", "--annotations", annotations, "--results", results]


def test_coco_json(coco_files, capsys):
    main([*coco_files, "--iou", "bbox", "--json"])

    scores = json.loads(capsys.readouterr().out)
    half = pytest.approx(51 / 101, abs=1e-15)  # precision 1 up to a recall of 1/2
    assert scores == {
        **dict.fromkeys(("AP", "AP50", "AP75", "APs"), half),
        **dict.fromkeys(("AR1", "AR10", "AR100", "ARs"), 0.5),
        **dict.fromkeys(("APm", "APl", "ARm", "ARl")),
        "per_class": {"cat": half, "dog": None},
    }


def test_coco_table(coco_files, capsys):
    main(coco_files)

    printed = capsys.readouterr().out
    assert "│ AP50  │ 0.505 │" in printed
    assert "│ APl   │     - │" in printed
    assert "│ cat   │ 0.505 │" in printed


def test_no_detections_score_0(coco_files, tmp_path, capsys):
    (tmp_path / "dets.json").write_text("[]")
    main([*coco_files, "--json"])

    scores = json.loads(capsys.readouterr().out)
    assert (scores["AP"], scores["AR100"]) == (0, 0)


def test_voc_json(voc_files, capsys):
    main([*voc_files, "--json"])

    printed = capsys.readouterr()
    full = pytest.approx(1, abs=1e-15)
    assert json.loads(printed.out) == {
        "mAP_11_point": pytest.approx(0.5),
        "mAP_area": pytest.approx(0.5),
        "per_class": {
            "cat": {"AP_11_point": full, "AP_area": full, "objects": 1},
            "dog": {"AP_11_point": 0, "AP_area": 0, "objects": 1},
        },
    }
    assert "no results file of class dog: its AP is 0" in printed.err


def test_voc_table(voc_files, capsys):
    main(voc_files)

    printed = capsys.readouterr().out
    assert "│ mAP_11_point │ 0.500 │" in printed
    assert "│ cat   │       1.000 │   1.000 │       1 │" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "required: coco|voc", id="no word"),
        pytest.param(["coco", "--annotations", "x"], "required: --results", id="no results"),
        pytest.param(["coco", "--iuo", "bbox"], "required: --annotations", id="misspelt"),
        pytest.param(
            ["voc", "--annotations", "x", "--results", "y", "--iou", "50"],
            "--iou: 50 is not a number between 0 and 1. `lit-detseg evaluate voc --help`",
            id="percent",
        ),
    ],
)
def test_a_wrong_command_line_is_one_message(arguments, message, capsys):
    with pytest.raises(UserError) as raised:
        main(arguments)

    assert message in str(raised.value)
    assert capsys.readouterr().err == ""


def test_a_wrong_file_is_one_message(coco_files, tmp_path):
    (tmp_path / "dets.json").write_text('[{"image_id": 1}]')
    with pytest.raises(UserError, match=r"dets\.json: entry 0 .* has no 'category_id'"):
        main(coco_files)
