"""The mask branch: whose masks are learned, and which mask a detection gets."""

import math

import pytest
import torch
from torch import nn

from lit_detseg.models.backbones.backbone import HeadLayers
from lit_detseg.models.mask_stage import MaskSettings, MaskStage
from lit_detseg.models.roi_stage import SampledRoIs
from lit_detseg.structures import Detections, UserError
from tests.tiny_detection import TinyBackbone, make_images, make_target

IMAGES = make_images([(64, 96)])
FEATURES = [torch.zeros(1, 8, 16, 24), torch.zeros(1, 8, 8, 12)]


class FixedMasks(nn.Module):
    """One mask of each class, the same for every region: `logits` is (classes, cells, cells)."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, pooled):
        return self.logits.expand(len(pooled), -1, -1, -1)


def stage(logits, **settings):
    module = MaskStage.over(TinyBackbone(), len(logits), MaskSettings(output_size=1, **settings))
    module.head = FixedMasks(logits)
    return module


def rois(boxes, labels, objects):
    return SampledRoIs(
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(labels),
        torch.tensor(objects),
        torch.zeros(len(boxes), 4),
    )


def loss_of(module, samples, target):
    losses = module.compute_losses(FEATURES, [samples], IMAGES, [target], nn.Identity())
    return losses["mask"].item()


LEFT = [[8.0, 8, 16, 24]]  # the left half of a RoI from (8, 8) to (24, 24)


def test_rois_on_objects_learn_the_mask_of_their_class():
    """Class 1 says logit 2 in the left column of 2 x 2 cells and -1 in the right; it is right."""
    module = stage([[[9.0, 9], [9, 9]], [[2.0, -1], [2, -1]]])
    samples = rois([[8, 8, 24, 24], [40, 40, 60, 60]], [2, 0], [0, 0])  # on class 1; background
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2
    assert loss_of(module, samples, make_target(LEFT, [1], masks=True)) == pytest.approx(expected)


def test_an_image_without_foreground_costs_nothing():
    module = stage([[[1.0, 1], [1, 1]]])
    samples = rois([[0, 0, 9, 9]], [0], [0])
    assert loss_of(module, samples, make_target([], [], masks=True)) == 0


def test_crowds_and_difficult_objects_do_not_shift_the_masks():
    """RoIs count only objects that are learned: the first of them is the target's second."""
    module = stage([[[9.0, -9], [9, -9]]])
    target = make_target([[0, 0, 90, 60], *LEFT], [0, 0], masks=True)
    target = target._replace(is_crowd=torch.tensor([True, False]))
    assert loss_of(module, rois([[8, 8, 24, 24]], [1], [0]), target) < 0.001


def test_targets_without_masks_are_explained():
    module = stage([[[1.0, 1], [1, 1]]])
    with pytest.raises(UserError, match=r"image come without masks.*--data.masks=true"):
        loss_of(module, rois([[0, 0, 9, 9]], [1], [0]), make_target([[0, 0, 9, 9]], [0]))


def detect(module, labels):
    found = Detections(
        torch.tensor([[0.0, 0, 9, 9]] * len(labels)).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.ones(len(labels)),
    )
    return module.detect(FEATURES, [found], nn.Identity())[0].mask_cells


def test_a_detection_gets_the_mask_of_its_class():
    logits = [[[0.0, 1], [2, 3]], [[4.0, 5], [6, 7]]]
    cells = detect(stage(logits), [1, 0])
    torch.testing.assert_close(cells, torch.tensor(logits).sigmoid()[[1, 0]])


def test_competing_masks_are_probabilities_of_a_softmax_with_the_background_first():
    module = stage([[[0.0, 0], [0, 0]], [[1.0, 0], [0, 0]]], classes="competing")
    cells = detect(module, [0])
    assert cells[0, 0, 0].item() == pytest.approx(math.e / (1 + math.e))
    assert cells[0, 1, 1].item() == pytest.approx(0.5)


def test_no_detection_has_no_mask():
    assert detect(stage([[[0.0, 0], [0, 0]]]), []).shape == (0, 2, 2)


def test_competing_masks_have_one_more_for_the_background():
    module = MaskStage.over(TinyBackbone(), 3, MaskSettings(classes="competing"))
    assert module.head.logits.out_channels == 4


def behind_res5():
    backbone = TinyBackbone()
    backbone.head_layers = HeadLayers(nn.Conv2d(8, 32, 1), nn.Flatten(), 32, 7, trunk_channels=32)
    return backbone


def test_behind_shared_layers_the_head_only_doubles_the_resolution():
    module = MaskStage.over(behind_res5(), 3, MaskSettings(output_size=7))
    assert len(module.head.convs) == 0
    assert module.head.upsample.in_channels == 32


def test_regions_that_do_not_fit_the_shared_layers_are_refused():
    with pytest.raises(UserError, match=r"14 x 14 bins.*Set masks.output_size to 7"):
        MaskStage.over(behind_res5(), 3, MaskSettings(output_size=14))
