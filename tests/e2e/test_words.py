"""A run from `fit` over `validate`, `test` and `predict` to `evaluate`: the same numbers."""

import json

import pytest

from lit_detseg.cli.main import main
from lit_detseg.data.shards import ShardReader
from lit_detseg.runs.metrics_log import read_metrics
from tests.e2e.commands import fit_arguments, run_command


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory):
    """A short run with one validation at its end, and its pictures."""
    path = tmp_path_factory.mktemp("words") / "run"
    options = ("--trainer.val_check_interval=8", "--trainer.check_val_every_n_epoch=null")
    run_command(*fit_arguments(shards, path, *options, "--run.pictures=4"))
    return path


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def scores_printed(text):
    """The numbers of Lightning's table, `val/map_50` and so on."""
    rows = [line.split("│") for line in text.splitlines() if "/" in line and "│" in line]
    return {row[1].strip().split("/")[1]: float(row[2]) for row in rows}


def test_a_run_directory_holds_everything(run):
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "label_map.json",
        "metrics.jsonl",
        "run.json",
        "checkpoints/best.ckpt",
        "checkpoints/best.ckpt.sha256",
        "checkpoints/step-00000008.ckpt",
        "pictures/step-00000008.png",
    } <= files
    names = set(read_metrics(run / "metrics.jsonl"))
    losses = {"rpn_objectness", "rpn_box", "classification", "box_regression", "loss"}
    assert {f"train/{name}" for name in losses} <= names
    assert {"train/learning_rate", "train/images_per_second", "train/data_wait_fraction"} <= names
    assert {"val/map", "val/map_50", "val/mar_100"} <= names


@pytest.mark.usefixtures("quiet")
def test_validate_repeats_the_run_s_own_score(run, capsys):
    main(["validate", "-c", str(run / "config.yaml"), "--ckpt_path=best"])
    logged = {name: curve[-1][1] for name, curve in read_metrics(run / "metrics.jsonl").items()}
    printed = scores_printed(capsys.readouterr().out)
    assert printed["map_50"] == pytest.approx(logged["val/map_50"], abs=1e-6)


def test_the_same_detections_score_the_same_from_a_results_file(
    run, shards, tmp_path, capsys, quiet
):
    config, val = str(run / "config.yaml"), shards / "val"
    main(["test", "-c", config, "--ckpt_path=last", f"--data.test={val}"])
    tested = scores_printed(capsys.readouterr().out)
    main(["predict", "-c", config, "--ckpt_path=last", f"--data.predict={val}"])
    annotations = tmp_path / "annotations.json"
    annotations.write_text(json.dumps(as_coco(val)))
    capsys.readouterr()

    results = run / "predictions.json"
    words = ["evaluate", "coco", "--annotations", annotations, "--results", results, "--json"]
    main([str(word) for word in words])

    scores = json.loads(capsys.readouterr().out)
    assert scores["AP50"] == pytest.approx(tested["map_50"], abs=1e-6)
    assert scores["AP"] == pytest.approx(tested["map"], abs=1e-6)


def as_coco(folder):
    """A shard set's annotations as a COCO file."""
    reader = ShardReader(folder)
    records = [reader.record(sample) for sample in range(len(reader))]
    objects = [(int(record.image_id), item) for record in records for item in record.objects]
    return {
        "images": [{"id": int(r.image_id), "height": r.height, "width": r.width} for r in records],
        "categories": [{"id": i, "name": n} for i, n in enumerate(reader.label_map.names)],
        "annotations": [
            as_annotation(number, image, item)
            for number, (image, item) in enumerate(objects, start=1)
        ],
    }


def as_annotation(number, image, item):
    x1, y1, x2, y2 = item.box
    return {
        "id": number,
        "image_id": image,
        "category_id": item.label,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": item.area,
        "iscrowd": 0,
    }
