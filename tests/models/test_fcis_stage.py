"""FCIS's second stage on maps that are made by hand: one part, one cell of 8 pixels at a time."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lit_detseg.models.backbones import build_backbone
from lit_detseg.models.fcis_settings import FCISDetectionSettings, FCISRoISettings
from lit_detseg.models.fcis_stage import FCISStage
from lit_detseg.models.heads.fcis import FCISHead, PositionSensitiveMaps
from lit_detseg.structures import UserError
from tests.tiny_detection import TinyBackbone, make_images, make_target

STRIDE = 8
ONE_PART = FCISRoISettings(groups=1, cells=4)
SIZE = torch.tensor([[64, 96]])
ROI = [8.0, 8.0, 40.0, 40.0]  # 4 x 4 cells of the map


def stage(rois=ONE_PART, **detections):
    settings = FCISDetectionSettings(**{"voting": False, "iterations": 1, **detections})
    return FCISStage(FCISHead(2, nn.Identity(), 1, 1, rois.groups), STRIDE, rois, settings)


def maps(scores=(0.0, 0.0, 0.0), offsets=(0.0, 0.0, 0.0, 0.0), images=1):
    """Everywhere the same: for the background and two classes, inside; outside is as likely."""
    of_classes = torch.tensor(scores).repeat_interleave(2)
    return PositionSensitiveMaps(
        of_classes[None, :, None, None].repeat(images, 1, 8, 12),
        torch.tensor(offsets)[None, :, None, None].repeat(images, 1, 8, 12),
    )


def detect(the_maps, rois, **detections):
    (found,) = stage(**detections).detect(the_maps, [torch.tensor(rois)], SIZE)
    return found


def test_every_class_of_a_region_is_a_detection_and_the_background_is_none():
    found = detect(maps([math.log(5), math.log(3), math.log(2)]), [ROI])
    assert found.labels.tolist() == [0, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.3, 0.2]))
    assert found.boxes.tolist() == [ROI] * 2


def test_a_region_has_one_mask_that_of_its_likeliest_class():
    """Class 1 is likelier; its inside is 2 above its outside on the left half, 2 below right."""
    the_maps = maps([0.0, 0.0, 3.0])
    the_maps.scores[0, 5, :, :3] += 2.0
    the_maps.scores[0, 4, :, 3:] += 2.0
    found = detect(the_maps, [ROI])
    assert found.labels.tolist() == [1, 0]
    likely = 1 / (1 + math.exp(-2))
    row = 1 - (1 - torch.tensor([likely, likely, 1 - likely, 1 - likely])) * 0.5 / 0.6
    torch.testing.assert_close(found.mask_cells, row.expand(2, 4, 4))


def test_the_border_of_a_mask_lies_at_one_half():
    """The threshold of 0.4 becomes 0.5, in a straight line to 1."""
    cells = torch.tensor([[[0.4, 1.0], [0.0, 0.7]]])
    moved = stage()._border_at_half(cells)
    torch.testing.assert_close(moved, torch.tensor([[[0.5, 1.0], [1 / 6, 0.75]]]))


def test_refined_regions_are_judged_again_and_all_remain():
    """An offset of 1 is 0.2 widths of 32 pixels: 6.4 to the right, where the class is sure."""
    the_maps = maps([0.0, 0.0, -9.0], offsets=[1.0, 0.0, 0.0, 0.0])
    the_maps.scores[0, 2:4, :, 5:] = 5.0  # x from 40 on: only the refined region reaches it
    found = detect(the_maps, [ROI], iterations=2, nms_iou=0.9)
    torch.testing.assert_close(found.boxes[0], torch.tensor([14.4, 8.0, 46.4, 40.0]))
    torch.testing.assert_close(found.boxes[1], torch.tensor(ROI))
    assert found.scores[0] > found.scores[1]
    assert detect(the_maps, [ROI], iterations=1).boxes.tolist() == [ROI]
    # With NMS at 0.3 the better one of the two remains (IoU 25.6 / 38.4).
    assert len(detect(the_maps, [ROI], iterations=2).boxes) == 1


def test_refined_regions_stay_in_the_image():
    """An offset of 9 is 1.8 widths, to x from 65.6 to 97.6; the image ends at 96."""
    found = detect(maps([0.0, 3.0, -20.0], [9.0, 0, 0, 0]), [ROI], iterations=2)
    torch.testing.assert_close(found.boxes, torch.tensor([ROI, [65.6, 8.0, 96.0, 40.0]]))


def test_small_and_unlikely_candidates_are_dropped_and_the_best_are_counted():
    scores = maps([0.0, 5.0, -20.0])  # class 1 has less than one in a thousand
    rois = [ROI, [50.0, 8, 65, 40], [50.0, 8, 66, 40], [70.0, 0, 90, 30]]
    found = detect(scores, rois)
    assert sorted(found.boxes.tolist()) == sorted([rois[0], rois[2], rois[3]])
    assert set(found.labels.tolist()) == {0}
    assert len(detect(scores, rois, max_detections=2).boxes) == 2
    assert len(detect(scores, rois, min_side=2.0, nms_iou=0.99).boxes) == 4


def test_masks_vote_and_boxes_become_tight():
    """Class 1, sure of the two columns in the middle of four: 8 pixels each, from x = 8 on.

    From the middle of the first column, x = 12, to that of the second, 20, a pixel's probability
    rises from 0 to 1: the first above 0.4 is that from 15 to 16 (3.5 / 8). Likewise on the right.
    """
    the_maps = maps([0.0, 0.0, 20.0])
    the_maps.scores[0, 5, :, :8] = -20.0
    the_maps.scores[0, 5, :, 2:4] = 60.0
    found = detect(the_maps, [ROI], voting=True)
    assert found.labels.tolist() == [1]
    assert found.boxes.tolist() == [[15.0, 8.0, 33.0, 40.0]]
    assert found.mask_cells.tolist() == [[[1.0] * 4] * 4]


def test_no_proposals_give_no_detections():
    for voting in (False, True):
        (found,) = stage(voting=voting, iterations=2).detect(maps(), [torch.zeros(0, 4)], SIZE)
        assert [len(part) for part in found[:3]] == [0, 0, 0]
        assert found.mask_cells.shape == (0, 4, 4)


def test_losses_are_means_over_images_of_what_each_learns():
    """All scores 0: log 3 for the classes, log 2 for each cell, of one RoI and of none."""
    module = stage(replace(ONE_PART, fill_background=False))
    images = make_images([(64, 96), (64, 96)])
    targets = [make_target([ROI], [1], masks=True), make_target([], [], masks=True)]
    samples = module.draw([torch.zeros(0, 4)] * 2, images, targets)
    losses = module.compute_losses(maps(images=2), samples, images, targets)
    assert losses["classification"].item() == pytest.approx(math.log(3) / 2)
    assert losses["mask"].item() == pytest.approx(math.log(2) / 2)
    assert losses["box_regression"].item() == 0


def test_cells_learn_the_mask_of_their_object():
    """The RoI is the left half of the object and the cell to its left: 3 of 4 columns inside."""
    module = stage()
    images, target = make_images([(64, 96)]), make_target([[16.0, 8, 40, 40]], [0], masks=True)
    samples = module.draw([torch.tensor([ROI])], images, [target])
    the_maps = maps()
    the_maps.scores[:, 2, :, 1] = 30.0  # outside, in the column beside the object
    the_maps.scores[:, 3, :, 2:] = 30.0
    losses = module.compute_losses(the_maps, samples, images, [target])
    assert losses["mask"].item() == pytest.approx(0, abs=1e-6)


def test_target_offsets_are_divided_by_their_deviations():
    """The object is shifted by 8 of 32 pixels, IoU 24 / 40: t_x = 0.25, divided by 0.2."""
    target = make_target([[16.0, 8, 48, 40]], [0], masks=True)
    (samples,) = stage().draw([torch.tensor([ROI])], make_images([(64, 96)]), [target])
    shifted = samples.boxes.tolist().index(ROI)
    torch.testing.assert_close(samples.target_offsets[shifted], torch.tensor([1.25, 0, 0, 0]))


def test_hard_examples_choose_from_all_regions():
    settings = replace(ONE_PART, hard_examples=True, num_samples=2, background_iou=(0.0, 0.5))
    module = stage(settings)
    images, target = make_images([(64, 96)]), make_target([ROI], [1], masks=True)
    proposals = torch.tensor([[48.0, 8, 80, 40]] * 5 + [ROI] * 4)
    (samples,) = module.draw([proposals], images, [target])
    assert len(samples.boxes) == 10
    # Sure of the background everywhere: the five RoIs on the object are the hard ones.
    the_maps = maps([2.0, 0.0, 0.0])
    losses = module.compute_losses(the_maps, [samples], images, [target])
    hard = math.log(math.exp(2) + 2)
    assert losses["classification"].item() == pytest.approx(hard)


def test_parts_that_do_not_share_the_cells_evenly_are_refused():
    with pytest.raises(UserError, match=r"20 cells a side .* which 7 parts .* multiple of 7"):
        stage(FCISRoISettings(cells=20))


def test_several_maps_are_refused():
    with pytest.raises(UserError, match=r"gives 2, of strides \[4, 8\].*resnet101_dc5"):
        FCISStage.over(TinyBackbone(), 3)


def test_the_stage_takes_over_res5_of_the_backbone():
    backbone = build_backbone("resnet18_dc5")
    module = FCISStage.over(backbone, 3)
    assert module.stride == 16
    assert module.head.trunk is backbone.head_layers.trunk
    assert module.head.reduce.in_channels == 512
    names = [name for name, _ in backbone.named_parameters()]
    assert not any("layer4" in name or "head" in name for name in names)
