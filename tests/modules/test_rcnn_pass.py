"""Passes over the training set: every image once, as it is, counted like training."""

import pytest
import torch

from lit_detseg.data.sampling import RepeatFactor
from lit_detseg.data.transforms import RandomHorizontalFlip, ResizeShortestSide
from lit_detseg.modules.rcnn_pass import RegionPass, Rows, feature_scale
from lit_detseg.runs.checkpoints import load_checkpoint, newest_valid_checkpoint
from lit_detseg.structures import UserError
from tests.callbacks.tiny import StoppedError
from tests.region_data import grid_boxes, one_pass, region_data, tiny_rcnn_module


class Counting(RegionPass):
    """Notes what it sees, and sums one number."""

    passes = 2

    def __init__(self, stop=None):
        super().__init__(tiny_rcnn_module())
        self.collected = {"positions": Rows(torch.zeros(0, dtype=torch.int64))}
        self.seen, self.last = [], []
        self.stop = stop

    def look_at(self, images, is_last_step):
        if len(self.seen) == self.stop:
            raise StoppedError
        self.seen.append([image.image_id for image in images])
        self.last.append(is_last_step)
        self.collect([{"positions": torch.tensor([image.position])} for image in images])
        return {"loss": len(self.collected["positions"])}


def test_every_image_is_seen_once_in_each_pass(shards, tmp_path):
    """22 images in steps of 4: the sixth is filled up with two that were seen already."""
    stage = Counting()
    trainer = one_pass(stage, region_data(shards), tmp_path)
    assert [len(step) for step in stage.seen] == [4, 4, 4, 4, 4, 2] * 2
    for first in (0, 6):
        ids = [image for step in stage.seen[first : first + 6] for image in step]
        assert len(set(ids)) == 22
    assert stage.last == [False] * 11 + [True]
    assert trainer.global_step == 12
    assert trainer.callback_metrics["train/loss"] == 44


def test_nothing_of_the_detector_moves_and_dropout_is_off(shards, tmp_path):
    stage = Counting()
    before = {name: value.clone() for name, value in stage.state_dict().items()}
    one_pass(stage, region_data(shards), tmp_path)
    assert all(value.equal(before[name]) for name, value in stage.state_dict().items())
    assert not stage.model.training


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 11])
def test_a_stopped_pass_goes_on_where_it_was(shards, tmp_path, stop):
    with pytest.raises(StoppedError):
        one_pass(Counting(stop), region_data(shards), tmp_path)
    newest = newest_valid_checkpoint(tmp_path / "checkpoints")
    assert load_checkpoint(newest)["global_step"] == stop

    stage = Counting()
    one_pass(stage, region_data(shards), tmp_path, ckpt_path=newest)

    assert stage.collected["positions"].joined.tolist() == [*range(22), *range(22)]
    assert len(stage.seen) == 12 - stop
    assert stage.last[-1]


def test_the_state_dict_is_that_of_the_detector_s_other_stages():
    assert Counting().state_dict().keys() == tiny_rcnn_module().state_dict().keys()


def test_regions_are_the_objects_then_the_proposals(shards, tmp_path):
    class Looking(Counting):
        passes = 1

        def look_at(self, images, is_last_step):
            for image in images:
                objects = image.objects.boxes
                assert image.boxes.equal(torch.cat([objects, grid_boxes(64, 64, 16)]))
                pooled = image.pooled()
                assert pooled.shape == (len(image.boxes), 32)
                torch.testing.assert_close(image.pooled(torch.tensor([3, 0])), pooled[[3, 0]])
            return {"loss": 0.0}

    one_pass(Looking(), region_data(shards), tmp_path)


def test_norms_are_of_200_regions_of_the_first_200_images(shards, tmp_path):
    class Looking(Counting):
        passes = 1

        def look_at(self, images, is_last_step):
            image = images[0]
            image.boxes = image.boxes[:1].repeat(500, 1)
            places = image.norm_places()
            assert len(places) == len(places.unique()) == 200
            image.boxes = image.boxes[:7]
            assert sorted(image.norm_places().tolist()) == list(range(7))
            image.position = 199
            assert len(image.norm_places()) == 7
            image.position = 200
            assert len(image.norm_places()) == 0
            return {"loss": 0.0}

    one_pass(Looking(), region_data(shards), tmp_path)


@pytest.mark.parametrize(
    ("trainer", "data", "said"),
    [
        pytest.param({"max_epochs": 1}, {}, "2 x, but max_epochs = 1", id="too few epochs"),
        pytest.param({}, {"tail": "drop"}, "Set `data.tail: wrap`", id="images left out"),
        pytest.param({}, {"sampling": RepeatFactor(1.0)}, "no `data.sampling`", id="copies"),
        pytest.param(
            {},
            {"train_transforms": [RandomHorizontalFlip(1.0)]},
            "was mirrored, cropped or mixed",
            id="mirrored images",
        ),
    ],
)
def test_what_would_not_show_every_image_as_it_is_is_refused(shards, tmp_path, trainer, data, said):
    with pytest.raises(UserError, match=said):
        one_pass(Counting(), region_data(shards, **data), tmp_path, **trainer)


def test_images_may_be_resized(shards, tmp_path):
    data = region_data(shards, train_transforms=[ResizeShortestSide(50, 100)])
    one_pass(Counting(), data, tmp_path)


def test_features_are_scaled_to_a_mean_norm_of_20():
    assert feature_scale(torch.tensor([1.0, 3.0])) == 10


@pytest.mark.parametrize("norms", [torch.zeros(0), torch.zeros(3)])
def test_without_features_there_is_no_scale(norms):
    with pytest.raises(UserError, match="no features, or they are all zero"):
        feature_scale(norms)


def test_rows_are_joined_in_the_order_in_which_they_came():
    rows = Rows(torch.zeros(0, 2, dtype=torch.float16))
    rows.add(torch.ones(1, 2).half())
    rows.add(torch.zeros(2, 2).half())
    assert len(rows) == 3
    assert rows.joined.tolist() == [[1, 1], [0, 0], [0, 0]]
    assert rows.none.shape == (0, 2)
    assert rows.joined.dtype == rows.none.dtype == torch.float16
