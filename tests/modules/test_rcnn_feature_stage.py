"""Features of a training set on disk: all of them, once, whatever happens in between."""

import json
import shutil
from collections import namedtuple

import pytest
import torch

from lit_detseg.modules import RegionFeatures
from lit_detseg.modules.rcnn_feature_cache import FeatureCache
from lit_detseg.structures import UserError
from tests.callbacks.tiny import Diary, StoppedError
from tests.e2e.commands import run_command
from tests.region_data import (
    GridShapesDataModule,
    grid_boxes,
    one_pass,
    region_data,
    tiny_rcnn_module,
    tiny_spp_net_module,
)


def features_stage(folder, **options):
    return RegionFeatures(tiny_rcnn_module(), cache=str(folder / "cache"), **options)


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_every_region_of_every_image_is_there(shards, tmp_path, precision):
    stage = features_stage(tmp_path, precision=precision)
    trainer = one_pass(stage, region_data(shards), tmp_path / "run")

    cache = FeatureCache.open(tmp_path / "cache", tiny_rcnn_module().model)
    assert cache.stored_images() == 22
    proposals = len(grid_boxes(64, 64, 16))
    assert trainer.callback_metrics["train/written"] == 2  # in the last step, filled up with two
    data = region_data(shards)
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    for i, target in enumerate(batch.targets):
        boxes = torch.cat([target.boxes, grid_boxes(64, 64, 16)])
        assert len(boxes) == len(target.boxes) + proposals
        images = batch.images._replace(
            pixels=batch.images.pixels[i : i + 1], sizes=batch.images.sizes[i : i + 1]
        )
        (expected,) = stage.model.region_features(images, [boxes])
        kind = getattr(torch, precision)
        torch.testing.assert_close(cache.read(target.image_id, boxes), expected.detach().to(kind))


class Announced(GridShapesDataModule):
    """Knows how many proposals there are, as the proposals of shards do."""

    def num_proposals(self, split):
        return {f"image {i}": len(grid_boxes(64, 64, self.step)) for i in range(22)}


def announced(shards):
    return Announced(train=str(shards / "train"), total_batch_size=4, num_workers=0, step=16)


def test_the_size_is_announced_before_the_first_is_written(shards, tmp_path, caplog):
    one_pass(features_stage(tmp_path), announced(shards), tmp_path / "run")
    row = 16 + 2 * 32
    count = 22 * len(grid_boxes(64, 64, 16))
    assert f"cache: {count:,} proposals of {row} bytes, 0.0 GB" in caplog.text


def test_a_disk_that_is_too_small_is_refused(shards, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(UserError, match=r"take 0.0 GB, but .* has room for 0.0 GB. Give a `cache`"):
        one_pass(features_stage(tmp_path), announced(shards), tmp_path / "run")
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_what_is_there_is_kept_with_or_without_a_checkpoint(shards, tmp_path):
    with pytest.raises(StoppedError):
        one_pass(features_stage(tmp_path), region_data(shards), tmp_path / "run", Diary(stop=3))
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.npy")}
    assert len(first) == 12

    one_pass(features_stage(tmp_path), region_data(shards), tmp_path / "other run")

    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 22


def test_an_image_that_was_left_out_is_missed(shards, tmp_path):
    with pytest.raises(UserError, match="features of 8 of 22 images"):
        one_pass(
            features_stage(tmp_path),
            region_data(shards),
            tmp_path / "run",
            limit_train_batches=2,
        )


def test_a_cache_of_other_weights_is_neither_continued_nor_read(shards, tmp_path):
    one_pass(features_stage(tmp_path), region_data(shards), tmp_path / "run")
    stage = features_stage(tmp_path)
    with torch.no_grad():
        stage.model.network.backbone.fine.bias += 1
    with pytest.raises(UserError, match="features of another detector: weights"):
        one_pass(stage, region_data(shards), tmp_path / "other run")


def test_spp_net_s_features_do_not_change_while_it_is_fine_tuned(shards, tmp_path):
    stage = RegionFeatures(tiny_spp_net_module(), cache=str(tmp_path / "cache"))
    one_pass(stage, region_data(shards), tmp_path / "run")
    module = tiny_spp_net_module()
    with torch.no_grad():
        for parameter in module.model.layers.parameters():
            parameter += 1
    FeatureCache.open(tmp_path / "cache", module.model)


def command(shards, folder, *more):
    return (
        "fit",
        "--model=lit_detseg.modules.RegionFeatures",
        f"--model.cache={folder / 'cache'}",
        "--model.system=lit_detseg.modules.RCNN",
        "--model.system.network=squeezenet1_0",
        "--model.system.crop_side=40",
        "--model.system.crop_context=3",
        "--model.system.head_width=16",
        "--data=tests.region_data.GridShapesDataModule",
        "--data.step=24",
        f"--data.train={shards / 'train'}",
        "--data.total_batch_size=2",
        "--data.num_workers=1",
        f"--run.dir={folder / 'run'}",
        "--run.pictures=0",
        "--run.checkpoint_every=2",
        "--trainer.accelerator=cpu",
        "--trainer.max_epochs=1",
        *more,
    )


def test_a_killed_process_leaves_whole_files_and_is_continued(shards, tmp_path):
    killer = ["--trainer.callbacks=tests.training_aids.KillAfterStep", "--trainer.callbacks.step=5"]
    killed = run_command(*command(shards, tmp_path, *killer), check=False)
    assert killed.returncode == -9, killed.stderr
    files = sorted((tmp_path / "cache").glob("*.npy"))
    assert len(files) == 10
    before = {path: path.read_bytes() for path in files}
    assert json.loads((tmp_path / "cache/index.json").read_text())["images"] is None

    run_command(*command(shards, tmp_path, "--ckpt_path=last"))

    assert {path: path.read_bytes() for path in files} == before
    assert json.loads((tmp_path / "cache/index.json").read_text())["images"] == 22
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 22
