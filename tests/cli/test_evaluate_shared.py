"""`lit-detseg evaluate` against published and recomputed numbers."""

import json

import pytest

from lit_detseg.cli.evaluate import main
from tests.conftest import SHARED

FIXTURES = SHARED / "data/eval_fixtures"
COCO = FIXTURES / "coco_val2014_100"
VOC = FIXTURES / "voc_ap_case1"
LONG_NAMES = {"APs": "APsmall", "APm": "APmedium", "APl": "APlarge"} | {
    "ARs": "ARsmall",
    "ARm": "ARmedium",
    "ARl": "ARlarge",
}


@pytest.mark.parametrize("shape", ["bbox", "segm"])
def test_the_official_fake_results_of_coco(shape, capsys):
    annotations = COCO / "instances_val2014_100.json"
    results = COCO / f"instances_val2014_fake{shape}100_results.json"
    files = ["--annotations", str(annotations), "--results", str(results)]

    main(["coco", *files, "--iou", shape, "--json"])

    scores = json.loads(capsys.readouterr().out)
    expected = json.loads((COCO / "expected.json").read_text())[shape]
    assert len(scores.pop("per_class")) == 80
    assert {LONG_NAMES.get(name, name): score for name, score in scores.items()} == pytest.approx(
        expected, rel=0, abs=1e-15
    )


@pytest.fixture
def voc_files(tmp_path):
    """The fixture (class [score] x y w h, inclusive pixels) in VOC's own form."""
    lines = []
    for path in sorted((VOC / "gts").glob("*.txt")):
        objects = "".join(map(as_xml, path.read_text().split("\n")))
        (tmp_path / path.with_suffix(".xml").name).write_text(f"<annotation>{objects}</annotation>")
        detections = (VOC / "dets" / path.name).read_text().splitlines()
        lines += [as_result(path.stem, line) for line in detections if line]
    (tmp_path / "comp4_det_test_object.txt").write_text("\n".join(lines))
    return ["voc", "--annotations", str(tmp_path), "--results", str(tmp_path)]


def as_xml(line):
    if not line.strip():
        return ""
    name, *box = line.split()
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners(box), strict=True)
    box_text = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return f"<object><name>{name}</name><bndbox>{box_text}</bndbox></object>"


def as_result(image, line):
    _, score, *box = line.split()
    return " ".join([image, score, *map(str, corners(box))])


def corners(words):
    x, y, width, height = map(int, words)
    # The published answers take x + w as the last pixel: boxes of (w + 1) x (h + 1) pixels.
    return x, y, x + width, y + height


@pytest.mark.parametrize("iou", ["0.1", "0.3", "0.5", "0.75"])
def test_the_published_ap_of_15_boxes_and_24_detections(voc_files, iou, capsys):
    expected = json.loads((VOC / "expected.json").read_text())

    main([*voc_files, "--iou", iou, "--json"])

    scores = json.loads(capsys.readouterr().out)
    assert scores["mAP_11_point"] == pytest.approx(expected["eleven_point"][iou], abs=1e-9)
    assert scores["mAP_area"] == pytest.approx(expected["every_point"][iou], abs=1e-9)
    assert scores["per_class"]["object"]["objects"] == 15
