"""Results files under a real trainer: the same from validation, test and prediction."""

import json

import pytest
import torch
from lightning import Trainer

from lit_detseg.callbacks.results_file import ResultsFile
from lit_detseg.data import ShapesDataModule
from lit_detseg.errors import UserError
from lit_detseg.metrics.coco_ap import CocoAveragePrecision
from lit_detseg.modules import DetectionModule
from tests.callbacks.tiny import TinyModule
from tests.toy_detector import ToyDetector


@pytest.fixture
def data(shards):
    sets = dict.fromkeys(("val", "test", "predict"), str(shards / "val"))
    return ShapesDataModule(**sets, eval_batch_size=4, num_workers=0)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return DetectionModule(ToyDetector(num_classes=3).eval(), CocoAveragePrecision())


def trainer_with(callback, **options):
    return Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        **options,
    )


@pytest.mark.parametrize("word", ["validate", "test", "predict"])
def test_every_image_is_in_the_file_once_in_original_pixels(word, data, module, tmp_path):
    callback = ResultsFile.in_folder(tmp_path / word, "coco")

    getattr(trainer_with(callback), word)(module, data)

    rows = json.loads((tmp_path / word / "coco.json").read_text())
    assert [row["image_id"] for row in rows] == list(range(9))  # ShapesReader's numbers
    assert all(0 <= x <= 64 and 0 <= y <= 64 for row in rows for x, y in [row["bbox"][:2]])
    if word == "predict":
        found = trainer_with(ResultsFile(tmp_path / "x")).predict(module, data)
        boxes = [one.boxes[0].tolist() for batch in found for one in batch]
        assert [row["bbox"][:2] for row in rows] == [box[:2] for box in boxes]


def test_an_evaluation_that_fails_leaves_earlier_results(data, module, tmp_path):
    callback = ResultsFile(tmp_path / "coco.json")
    trainer_with(callback).test(module, data)
    before = (tmp_path / "coco.json").read_bytes()
    module.model.detect = None

    with pytest.raises(TypeError):
        trainer_with(callback).test(module, data)

    assert (tmp_path / "coco.json").read_bytes() == before


def test_a_place_that_cannot_be_written_is_one_message(data, module, tmp_path):
    (tmp_path / "file").write_text("")
    callback = ResultsFile.in_folder(tmp_path / "file", "voc")
    with pytest.raises(UserError, match="cannot be written to .*file/voc .Not a directory"):
        trainer_with(callback).test(module, data)


def test_a_module_that_does_not_say_what_it_finds_is_told_what_to_do(tmp_path):
    with pytest.raises(UserError, match="TinyModule does not say what it finds"):
        trainer_with(ResultsFile(tmp_path / "coco.json")).validate(TinyModule(), verbose=False)
