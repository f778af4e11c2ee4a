"""A user's own detector, named by import path, trains without a change in the package."""

import pytest

from lit_detseg.cli.main import main
from lit_detseg.runs.checkpoints import load_checkpoint
from lit_detseg.runs.metrics_log import read_metrics

RECIPE = """
model:
  class_path: lit_detseg.modules.DetectionModule
  init_args:
    model: {{class_path: tests.toy_detector.{detector}}}
    metric: {metric}
    optimizer: {{class_path: torch.optim.SGD, init_args: {{lr: 0.1}}}}
data:
  class_path: lit_detseg.data.ShapesDataModule
  init_args: {{total_batch_size: 4, num_workers: 0}}
trainer: {{accelerator: cpu, devices: 1, max_steps: 5, val_check_interval: 5, log_every_n_steps: 1}}
"""

VOC_2007 = (
    "{class_path: lit_detseg.metrics.voc_ap.VocAveragePrecision, "
    "init_args: {interpolation: 11_point}}"
)


@pytest.mark.parametrize("detector", ["ToyDetector", "StrictToyDetector"])
@pytest.mark.parametrize(
    "metric",
    [
        pytest.param("lit_detseg.metrics.coco_ap.CocoAveragePrecision", id="COCO"),
        pytest.param(VOC_2007, id="VOC 2007"),
        pytest.param("torchmetrics.detection.MeanAveragePrecision", id="torchmetrics"),
    ],
)
def test_it_learns_the_number_of_classes_from_the_shards(
    shards, tmp_path, monkeypatch, detector, metric
):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    recipe = tmp_path / "own.yaml"
    recipe.write_text(RECIPE.format(detector=detector, metric=metric))
    sets = [f"--data.train={shards / 'train'}", f"--data.val={shards / 'val'}"]

    main(["fit", "-c", str(recipe), *sets, f"--trainer.default_root_dir={tmp_path / 'run'}"])

    state = load_checkpoint(tmp_path / "run/checkpoints/best.ckpt")["state_dict"]
    assert state["model.classes.weight"].shape[0] == 3
    logged = read_metrics(tmp_path / "run/metrics.jsonl")
    assert {"train/classification", "val/map", "val/map_50"} <= set(logged)
