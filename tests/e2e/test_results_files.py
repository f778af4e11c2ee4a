"""What `test` scores, and what `evaluate` scores of the files that it has written: the same."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lit_detseg.cli.main import main
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.cityscapes import CityscapesReader
from lit_detseg.data.readers.cityscapes_labels import THINGS
from lit_detseg.data.readers.coco import CocoReader
from lit_detseg.data.readers.voc import VocReader
from tests.coloured import coloured_picture
from tests.data.readers.drawn_cityscapes import write_ids
from tests.e2e.commands import run_command
from tests.e2e.test_words import scores_printed

IMAGES = 9
SIZE = (60, 90)
ANIMALS = ("cat", "dog", "cow")

RECIPE = """
model:
  class_path: lit_detseg.modules.DetectionModule
  init_args:
    model: {{class_path: tests.toy_detector.ColourDetector, init_args: {{cells: {cells}}}}}
    metric: {metric}
data:
  class_path: lit_detseg.data.{data}DataModule
  init_args:
    total_batch_size: 4
    num_workers: 0
    masks: {masks}
    train_transforms: []
    eval_transforms:
      - {transform}
trainer: {{accelerator: cpu, devices: 1, max_steps: 1}}
"""
MODULE = "class_path: lit_detseg.data.transforms"


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def trained(folder, **choices):
    """The configuration of a run with a checkpoint, trained for a step on shards in `folder`."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(**choices))
    sets = [f"--data.train={folder}/shards", f"--data.test={folder}/shards"]
    main(["fit", "-c", str(recipe), *sets, f"--run.dir={folder}/run", "--run.pictures=0"])
    return ["-c", f"{folder}/run/config.yaml", "--ckpt_path=last"]


def evaluated(capsys, *words):
    capsys.readouterr()
    main(["evaluate", *map(str, words), "--json"])
    return json.loads(capsys.readouterr().out)


def assert_same(scores, tested, names):
    for theirs, ours in names.items():
        assert scores[theirs] == pytest.approx(tested[ours], abs=1e-6), theirs
        assert 0.02 < scores[theirs] < 0.98, theirs  # something is right, and something wrong


def drawn_voc(root):
    """Boxes of what is visible, counted from 1; some are difficult."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(IMAGES):
        pixels, things = coloured_picture([0, number], SIZE, len(ANIMALS))
        Image.fromarray(pixels).save(root / f"JPEGImages/2007_{number}.png")
        objects = ""
        for place, thing in enumerate(things):
            x1, y1, x2, y2 = thing.box
            corners = (
                f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            )
            objects += f"<object><name>{ANIMALS[thing.label]}</name>"
            objects += (
                f"<difficult>{int(place == 3)}</difficult><bndbox>{corners}</bndbox></object>"
            )
        size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>3</depth></size>"
        text = f"<annotation>{size}{objects}</annotation>"
        (root / f"Annotations/2007_{number}.xml").write_text(text)
    names = "\n".join(f"2007_{number}" for number in range(IMAGES))
    (root / "ImageSets/Main/test.txt").write_text(names)


def test_voc(tmp_path, capsys):
    drawn_voc(tmp_path / "voc")
    pack(VocReader(tmp_path / "voc", ["test"], ANIMALS), tmp_path / "shards")
    config = trained(
        tmp_path,
        data="VOC",
        metric="{class_path: lit_detseg.metrics.voc_ap.VocAveragePrecision, "
        "init_args: {interpolation: area}}",
        masks="false",
        cells="null",
        transform=f"{{{MODULE}.Resize, init_args: {{height: 70, width: 80}}}}",
    )
    capsys.readouterr()
    main(["test", *config, "--run.results=voc"])
    tested = scores_printed(capsys.readouterr().out)

    scores = evaluated(
        capsys,
        *("voc", "--annotations", tmp_path / "voc/Annotations"),
        *("--results", tmp_path / "run/results/test/voc"),
        *("--image-set", tmp_path / "voc/ImageSets/Main/test.txt"),
    )

    assert_same(scores, tested, {"mAP_area": "map"})
    for name in ANIMALS:
        of_class = scores["per_class"][name]["AP_area"]
        assert of_class == pytest.approx(tested[f"map_{name}"], abs=1e-6)


def drawn_cityscapes(root):
    """Things, a group of them, void, road; the file names are Cityscapes' own."""
    for number in range(IMAGES):
        pixels, things = coloured_picture([1, number], SIZE, len(THINGS))
        name = f"ulm_{number:06}_000019"
        folder = root / "leftImg8bit/val/ulm"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name}_leftImg8bit.png")
        ids = np.full(SIZE, 7, np.uint16)
        ids[:10, :30] = 0
        for place, thing in enumerate(things):
            class_number = THINGS[thing.label].id
            ids[thing.mask] = class_number if place == 4 else 1000 * class_number + place
        write_ids(root, name, ids, "val")


def test_cityscapes_on_two_ranks(tmp_path, capsys):
    """Letterboxed: the grey margins are one more thing that is found, without a pixel."""
    drawn_cityscapes(tmp_path / "city")
    reader = CityscapesReader(tmp_path / "city", ["val"], annotations="instance_ids")
    pack(reader, tmp_path / "shards")
    config = trained(
        tmp_path,
        data="Cityscapes",
        metric="lit_detseg.metrics.cityscapes_ap.CityscapesAveragePrecision",
        masks="true",
        cells="null",
        transform=f"{{{MODULE}.Letterbox, init_args: {{height: 96, width: 96}}}}",
    )
    results = run_command("test", *config, "--run.results=cityscapes", "--trainer.devices=2")
    tested = scores_printed(results.stdout)

    folder = tmp_path / "run/results/test/cityscapes"
    scores = evaluated(
        capsys, "cityscapes", "--annotations", tmp_path / "city/gtFine", "--results", folder
    )

    assert f"images are in {folder}" in results.stderr + results.stdout
    assert len(list(folder.glob("*_pred.txt"))) == IMAGES
    assert_same(scores, tested, {"AP": "map", "AP50": "map_50"})
    for label in THINGS:
        of_class = scores["per_class"][label.name]["AP"]
        if of_class is not None:
            assert of_class == pytest.approx(tested[f"map_{label.name}"], abs=1e-6)


def drawn_coco(root):
    """Polygons, crowds as run lengths, category ids with holes, and file names of letters."""
    root.mkdir()
    images, annotations = [], []
    for number in range(IMAGES):
        pixels, things = coloured_picture([2, number], SIZE, len(ANIMALS), least=4)
        Image.fromarray(pixels).save(root / f"animals.{number}.png")
        image = {"id": 100 + number, "file_name": f"animals.{number}.png"}
        images.append(image | {"height": SIZE[0], "width": SIZE[1]})
        for place, thing in enumerate(things):
            rle = coco_mask.encode(np.asfortranarray(thing.mask, dtype=np.uint8))
            x1, y1, x2, y2 = thing.box
            outline = [float(v) for v in (x1, y1, x2, y1, x2, y2, x1, y2)]
            is_crowd = place == 3
            ascii_rle = {"size": list(SIZE), "counts": rle["counts"].decode()}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 100 + number,
                    "category_id": 10 * (thing.label + 1),
                    "segmentation": ascii_rle if is_crowd or place == 1 else [outline],
                    "area": float(thing.mask.sum()),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": int(is_crowd),
                }
            )
    categories = [{"id": 10 * (k + 1), "name": name} for k, name in enumerate(ANIMALS)]
    stored = {"images": images, "annotations": annotations, "categories": categories}
    (root / "instances.json").write_text(json.dumps(stored))


@pytest.mark.parametrize("cells", ["null", "14"], ids=["pixels", "cells"])
def test_coco_boxes_and_masks(tmp_path, capsys, cells):
    drawn_coco(tmp_path / "coco")
    pack(CocoReader(tmp_path / "coco", tmp_path / "coco/instances.json"), tmp_path / "shards")
    config = trained(
        tmp_path,
        data="Coco",
        metric="lit_detseg.metrics.coco_mask_ap.CocoMaskAveragePrecision",
        masks="true",
        cells=cells,
        transform=f"{{{MODULE}.ResizeShortestSide, init_args: {{min_size: 80, max_size: 200}}}}",
    )
    capsys.readouterr()
    main(["test", *config, "--run.results=coco"])
    tested = scores_printed(capsys.readouterr().out)

    files = ["--annotations", tmp_path / "coco/instances.json"]
    files += ["--results", tmp_path / "run/results/test/coco.json"]
    masks = evaluated(capsys, "coco", *files, "--iou", "segm")
    boxes = evaluated(capsys, "coco", *files, "--iou", "bbox")

    names = {"AP": "map", "AP50": "map_50", "AR100": "mar_100"}
    assert_same(masks, tested, names)
    assert_same(boxes, tested, {name: f"box_{key}" for name, key in names.items()})
    assert masks["AP"] != boxes["AP"]
    assert masks["per_class"]["cat"] == pytest.approx(tested["map_cat"], abs=1e-6)
