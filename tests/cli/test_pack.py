"""`lit-detseg pack` as typed."""

import json

import cv2
import numpy as np
import pytest

from lit_detseg.cli.pack import main
from lit_detseg.data.index import ShardIndex
from lit_detseg.errors import UserError


@pytest.fixture
def voc(tmp_path):
    """Two images; on the first, a good box and one that reaches over the border."""
    box = "<bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox>"
    good, wide = (f"<object><name>cat</name>{box.format(1, x)}</object>" for x in (9, 50))
    texts = {"a": f"<annotation>{good}{wide}</annotation>", "b": "<annotation/>"}
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / "voc" / folder).mkdir(parents=True)
    for stem, text in texts.items():
        (tmp_path / f"voc/Annotations/{stem}.xml").write_text(text)
        (tmp_path / f"voc/ImageSets/Main/{stem}list.txt").write_text(stem)
        cv2.imwrite(str(tmp_path / f"voc/JPEGImages/{stem}.png"), np.zeros((20, 30, 3), np.uint8))
    return tmp_path / "voc"


def run_json(capsys, *arguments):
    main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def test_voc(voc, tmp_path, capsys):
    options = ["voc", "--root", voc, "--split", "alist,blist", "--classes", "dog,cat"]

    summary = run_json(capsys, *options, "--out", tmp_path / "out", "--on-error", "clip")

    assert summary == {
        "images": 2,
        "objects": 2,
        "shards": 1,
        "images_read": 2,
        "objects_read": 2,
        "dropped": {},
        "clipped": 1,
        "out": str(tmp_path / "out"),
        "classes": {"dog": 0, "cat": 2},
    }


def test_bad_rows_are_refused_by_default(voc, tmp_path):
    with pytest.raises(UserError, match=r"JPEGImages/a\.png, object 2 \(cat\): box outside image"):
        main(["voc", "--root", str(voc), "--split", "alist", "--out", str(tmp_path / "out")])


def test_tables_count_what_was_dropped(voc, tmp_path, capsys):
    options = ["--root", str(voc), "--split", "alist", "--out", str(tmp_path / "out")]
    main(["voc", *options, "--on-error", "drop"])
    printed = capsys.readouterr().out
    rows = [line.replace("│", " ").split() for line in printed.splitlines()]
    assert ["objects", "1", "2"] in rows
    assert ["dropped:", "box", "outside", "image", "1"] in rows
    assert "0, 1, 50, 9 in an image 30 wide, 20 high" in printed


def test_coco(voc, tmp_path, capsys):
    stored = {
        "images": [{"id": 3, "file_name": "a.png", "height": 20, "width": 30}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 5, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 5, "name": "cat"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(stored))
    options = ["--images", voc / "JPEGImages", "--annotations", tmp_path / "a.json"]

    summary = run_json(capsys, "coco", *options, "--out", tmp_path / "out")

    assert (summary["images"], summary["classes"]) == (1, {"cat": 1})


def test_shapes_and_overwrite(tmp_path, capsys):
    shapes = ["shapes", "--size", 48, "--samples-per-shard", 2, "--out", tmp_path / "out"]
    run_json(capsys, *shapes, "--images", 3)

    summary = run_json(capsys, *shapes, "--images", 5, "--seed", 1, "--overwrite")

    assert (summary["images"], summary["shards"]) == (5, 3)
    index = ShardIndex.read(tmp_path / "out")
    assert index.label_map.names == ("circle", "square", "triangle")
    assert index.report["source"] == {"data_set": "shapes", "seed": 1, "size": 48}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: voc|coco|shapes"),
        (["voc", "--split", "train"], "required: --out, --root"),
        (["imagenet"], "invalid choice: 'imagenet'"),
        (["shapes", "--out", "x", "--images", "many"], "invalid int value: 'many'"),
        (["shapes", "--out", "x", "--on-error", "ignore"], "invalid choice: 'ignore'"),
    ],
)
def test_a_mistyped_command_is_one_message_with_the_way_to_help(arguments, message):
    with pytest.raises(UserError) as error:
        main(arguments)
    assert message in str(error.value)
    assert "lit-detseg pack" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data_set", ["voc", "coco", "shapes"])
def test_help_explains_every_option(data_set, capsys):
    with pytest.raises(SystemExit) as end:
        main([data_set, "--help"])
    assert end.value.code == 0
    assert "bad rows: 'fail' lists them all" in capsys.readouterr().out
