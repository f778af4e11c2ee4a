"""A sequence of stages that trains in milliseconds, for tests of what runs such sequences."""

import yaml

from lit_detseg.runs.checkpoints import load_checkpoint, newest_valid_checkpoint

FOLDERS = ("01_first", "02_second", "03_joined")


def write_toy_stages(path, shards):
    """Two stages of four steps each, and the head of one on the trunk of the other.

    Plain SGD and no dropout: the same on any number of ranks, but for rounding.
    """
    model = {
        "class_path": "lit_detseg.modules.DetectionModule",
        "init_args": {
            "model": {
                "class_path": "tests.toy_detector.ToyDetector",
                "init_args": {"dropout": 0.0},
            },
            "metric": {"class_path": "lit_detseg.metrics.coco_ap.CocoAveragePrecision"},
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}},
        },
    }
    data = {
        "class_path": "lit_detseg.data.ShapesDataModule",
        "init_args": {
            "train": str(shards / "train"),
            "val": str(shards / "val"),
            "total_batch_size": 4,
            "num_workers": 0,
        },
    }
    trainer = {"accelerator": "cpu", "devices": 1, "max_steps": 4, "log_every_n_steps": 1}
    run = {"pictures": 0, "checkpoint_every": 2}
    head = {"stage": "first", "parts": "classes,box"}
    content = {
        "common": {"model": model, "data": data, "trainer": trainer, "run": run},
        "stages": [
            {"name": "first"},
            {"name": "second", "seed_everything": 1, "trainer": {"max_steps": 4}},
            {
                "name": "joined",
                "train": False,
                "start_from": [{"stage": "second", "parts": "trunk"}, head],
            },
        ],
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def weights_of_stages(run):
    """The last weights of each stage, by the name of its folder."""
    return {
        folder: load_checkpoint(newest_valid_checkpoint(run / folder / "checkpoints"))["state_dict"]
        for folder in FOLDERS
    }
