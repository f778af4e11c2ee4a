"""`lit-detseg pack` as typed."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from lit_detseg.cli.pack import main
from lit_detseg.data.index import ShardIndex
from lit_detseg.data.packing.packed_shard import ShardPacker
from lit_detseg.data.packing.work_folder import WorkFolder
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.data.readers.voc import VOC_CLASSES
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


def test_parts_on_several_machines_and_their_merge(tmp_path, capsys):
    shapes = ["shapes", "--size", 48, "--samples-per-shard", 2, "--images", 7]
    run_json(capsys, *shapes, "--out", tmp_path / "whole")

    parts = [
        run_json(capsys, *shapes, "--out", tmp_path / "out", "--part", f"{number}/3")
        for number in (1, 2, 3)
    ]
    merged = run_json(capsys, "--merge", "--out", tmp_path / "out")

    assert [part["images"] for part in parts] == [2, 2, 3]
    assert [part["images_read"] for part in parts] == [2, 2, 3]
    assert parts[0]["out"] == str(tmp_path / "out.part-0001-of-0003")
    assert (merged["images"], merged["shards"], merged["out"]) == (7, 4, str(tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_shards_of_shards(tmp_path, capsys):
    for seed in (0, 1):
        options = ["--size", 48, "--images", 3, "--seed", seed, "--out", tmp_path / str(seed)]
        run_json(capsys, "shapes", *options)
    (tmp_path / "keys").write_text("00000002\n\n00000000\n")

    chosen = ["--keys", tmp_path / "keys", "--samples-per-shard", 1]
    few = run_json(capsys, "--from-shards", tmp_path / "0", "--out", tmp_path / "few", *chosen)

    assert (few["images"], few["shards"]) == (2, 2)
    assert ShardIndex.read(tmp_path / "few").keys == ("00000000", "00000002")
    zero, one, none = (str(tmp_path / name) for name in ("0", "1", "none"))
    with pytest.raises(UserError, match="00000000"):
        main(["--out", str(tmp_path / "both"), "--from-shards", zero, one])
    with pytest.raises(UserError, match="no file .*none. Give --keys"):
        main(["--from-shards", zero, "--out", str(tmp_path / "x"), "--keys", none])


@pytest.mark.parametrize(
    ("options", "label_map", "objects"),
    [
        (["--masks"], VOC_CLASSES, 1),
        (["--task", "instances"], VOC_CLASSES, 1),
        (["--task", "semantic"], ("background", *VOC_CLASSES), 0),
    ],
)
def test_voc_with_masks(tmp_path, capsys, options, label_map, objects):
    folders = ("JPEGImages", "Annotations", "ImageSets/Segmentation")
    for folder in (*folders, "SegmentationClass", "SegmentationObject"):
        (tmp_path / "voc" / folder).mkdir(parents=True)
    square = np.zeros((20, 30), np.uint8)
    square[5:15, 5:15] = 1
    cv2.imwrite(str(tmp_path / "voc/JPEGImages/a.jpg"), np.zeros((20, 30, 3), np.uint8))
    box = "<bndbox><xmin>6</xmin><ymin>6</ymin><xmax>15</xmax><ymax>15</ymax></bndbox>"
    (tmp_path / "voc/Annotations/a.xml").write_text(
        "<annotation><size><width>30</width><height>20</height></size>"
        f"<object><name>{VOC_CLASSES[7]}</name>{box}</object></annotation>"
    )
    (tmp_path / "voc/ImageSets/Segmentation/train.txt").write_text("a")
    Image.fromarray(8 * square).save(tmp_path / "voc/SegmentationClass/a.png")
    Image.fromarray(square).save(tmp_path / "voc/SegmentationObject/a.png")

    voc = ["voc", "--root", tmp_path / "voc", "--split", "train", "--out", tmp_path / "out"]
    summary = run_json(capsys, *voc, *options)

    assert (summary["images"], summary["objects"]) == (1, objects)
    index = ShardIndex.read(tmp_path / "out")
    assert index.label_map.names == label_map
    expected = ({0: 500, 8: 100},) if "semantic" in options else None
    assert index.pixel_counts == expected


def test_cityscapes(tmp_path, capsys):
    name = "aachen_000000_000019"
    for folder in ("leftImg8bit", "gtFine"):
        (tmp_path / "city" / folder / "train/aachen").mkdir(parents=True)
    truth = tmp_path / f"city/gtFine/train/aachen/{name}_gtFine"
    cv2.imwrite(
        str(tmp_path / f"city/leftImg8bit/train/aachen/{name}_leftImg8bit.png"),
        np.zeros((20, 30, 3), np.uint8),
    )
    corners = [[5, 5], [14, 5], [14, 14], [5, 14]]
    stored = {
        "imgHeight": 20,
        "imgWidth": 30,
        "objects": [{"label": "car", "polygon": corners}],
    }
    truth.with_name(f"{truth.name}_polygons.json").write_text(json.dumps(stored))
    ids = np.full((20, 30), 7, np.uint8)  # road
    cv2.imwrite(f"{truth}_labelIds.png", ids)

    city = ["cityscapes", "--root", tmp_path / "city", "--split", "train"]
    things = run_json(capsys, *city, "--out", tmp_path / "things")
    pixels = run_json(capsys, *city, "--task", "semantic", "--out", tmp_path / "pixels")

    assert (things["classes"]["car"], len(things["classes"])) == (1, 8)
    assert len(pixels["classes"]) == 19
    assert ShardIndex.read(tmp_path / "pixels").pixel_counts == ({0: 600},)


def test_what_is_kept_of_an_earlier_attempt_is_said_on_stderr(tmp_path, capsys):
    shapes = ["shapes", "--size", "48", "--samples-per-shard", "2", "--images", "6"]
    reader = ShapesReader(6, size=48)
    folder = WorkFolder(tmp_path / "out", "index.json")
    folder.make()
    ShardPacker(reader, folder.shards, folder.notes, 2, False)(1, lambda images: None)

    main([*shapes, "--out", str(tmp_path / "out")])

    assert "1 of 3 shards were finished by an earlier attempt" in capsys.readouterr().err


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: voc|coco|cityscapes|shapes|--from-shards|--merge"),
        (["--merge"], "required: --out"),
        (["--from-shards", "--out", "x"], "required: sets"),
        (["coco", "--merge", "--out", "x"], "unrecognized arguments: coco"),
        (["shapes", "--out", "x", "--workers", "0"], "at least 1 process"),
        (["shapes", "--out", "x", "--part", "4/3"], "write I/N"),
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
    if "required" in message or "invalid" in message:
        assert "lit-detseg pack" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data_set", ["voc", "coco", "cityscapes", "shapes", "from-shards"])
def test_help_explains_every_option(data_set, capsys):
    with pytest.raises(SystemExit) as end:
        main([data_set, "--help"])
    assert end.value.code == 0
    assert "bad rows: 'fail' lists them all" in capsys.readouterr().out
