"""The second stage: RoIs drawn, targets, and the way from scores to detections."""

import math

import pytest
import torch
from torch import nn

from lit_detseg.assignment.matching import Objects
from lit_detseg.assignment.offset_statistics import OffsetStatistics
from lit_detseg.models.backbones.backbone import HeadLayers
from lit_detseg.models.heads.box import BoxHead
from lit_detseg.models.roi_stage import DetectionSettings, RoISettings, RoIStage

SIZE = torch.tensor([[100, 100]])
LAYERS = HeadLayers(nn.Identity(), nn.Flatten(), num_features=1, bins=1, trunk_channels=1)


def stage(num_classes=2, rois=None, **detections):
    """No layers but the last ones, on RoIs of one bin and one channel."""
    head = BoxHead(num_classes, LAYERS)
    settings = rois or RoISettings(output_size=1)
    return RoIStage(head, (4,), settings, DetectionSettings(**detections))


class FixedHead(BoxHead):
    """Answers what it is told, whatever it sees."""

    def __init__(self, probabilities, offsets):
        super().__init__(len(probabilities[0]) - 1, LAYERS)
        self.answer = torch.tensor(probabilities).log(), torch.tensor(offsets)

    def forward(self, pooled):
        return self.answer


def detect(probabilities, rois, offsets=None, **detections):
    num_classes = len(probabilities[0])
    offsets = offsets or [[[0.0] * 4] * num_classes] * len(rois)
    module = stage(num_classes - 1, **detections)
    module.head = FixedHead(probabilities, offsets)
    (found,) = module.detect([torch.zeros(1, 1, 25, 25)], [torch.tensor(rois)], SIZE)
    return found


def test_every_class_of_a_roi_is_a_detection_and_background_is_none():
    found = detect([[0.5, 0.3, 0.2]], [[10.0, 10, 20, 20]])
    assert found.labels.tolist() == [0, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.3, 0.2]))
    assert found.boxes.tolist() == [[10, 10, 20, 20]] * 2


def test_offsets_of_a_class_move_its_own_box():
    """Offsets come in units of (0.1, 0.1, 0.2, 0.2): 5 is half a width, log(2) / 0.2 doubles."""
    offsets = [[[9.0] * 4, [5.0, 0, 0, 0], [0, 0, 0, math.log(2) / 0.2]]]
    found = detect([[0.5, 0.3, 0.2]], [[10.0, 10, 20, 20]], offsets)
    expected = torch.tensor([[15.0, 10, 25, 20], [10, 5, 20, 25]])
    torch.testing.assert_close(found.boxes, expected)


def test_threshold_then_nms_then_cap():
    scores = [0.9, 0.8, 0.3, 0.05, 0.04]
    rois = [[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [80, 80, 90, 90], [20, 20, 30, 30]]
    probabilities = [[1 - score, score] for score in scores]

    found = detect(probabilities, rois, min_score=0.06, nms_iou=0.5, max_detections=2)

    # the second is suppressed and takes no place under the cap; the last two are too unlikely
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.3]))
    assert found.boxes.tolist() == [rois[0], rois[2]]


def test_a_box_outside_the_image_is_no_detection():
    found = detect([[0.1, 0.9], [0.2, 0.8]], [[120.0, 0, 130, 10], [90, 90, 110, 110]])
    assert found.boxes.tolist() == [[90, 90, 100, 100]]


def test_the_best_of_all_classes_come_first():
    found = detect(
        [[0.2, 0.1, 0.7], [0.2, 0.6, 0.2]], [[0.0, 0, 9, 9], [50, 50, 60, 60]], max_detections=3
    )
    assert found.labels.tolist() == [1, 0, 1]


def test_no_proposals_give_no_detections():
    (found,) = stage().detect([torch.zeros(1, 1, 25, 25)], [torch.zeros(0, 4)], SIZE)
    assert [len(part) for part in found[:3]] == [0, 0, 0]


def test_objects_themselves_are_among_the_rois():
    objects = Objects(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([1]))
    samples = stage().draw_samples(torch.zeros(0, 4), objects, torch.tensor(0))
    assert samples.boxes.tolist() == [[0, 0, 10, 10]]
    assert samples.labels.tolist() == [2]  # background is 0
    assert samples.target_offsets.abs().sum() == 0


def test_targets_are_scaled_to_unit_variance():
    """The object is shifted by 1 of 10 pixels, IoU 90 / 110: t_x = 0.1, divided by 0.1."""
    objects = Objects(torch.tensor([[1.0, 0, 11, 10]]), torch.tensor([0]))
    proposals = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    samples = stage().draw_samples(proposals, objects, torch.tensor(0))
    of_box = {tuple(box): i for i, box in enumerate(samples.boxes.tolist())}
    shifted = of_box[(0.0, 0.0, 10.0, 10.0)]
    torch.testing.assert_close(samples.target_offsets[shifted], torch.tensor([1.0, 0, 0, 0]))
    assert samples.labels[shifted] == 1
    assert samples.labels[of_box[(50.0, 50.0, 60.0, 60.0)]] == 0


def test_at_most_a_quarter_is_foreground():
    objects = Objects(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0]))
    proposals = torch.cat([objects.boxes.repeat(500, 1), objects.boxes.repeat(500, 1) + 50])
    samples = stage().draw_samples(proposals, objects, torch.tensor(0))
    assert (samples.labels == 1).sum() == 32
    assert (samples.labels == 0).sum() == 96


@pytest.mark.parametrize(("low", "count"), [(0.0, 1), (0.1, 0)])
def test_an_image_without_objects_is_background_or_nothing(low, count):
    settings = RoISettings(output_size=1, background_iou=(low, 0.5))
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    samples = stage(rois=settings).draw_samples(
        torch.tensor([[0.0, 0, 9, 9]]), nothing, torch.tensor(0)
    )
    assert len(samples.boxes) == count
    losses = stage(rois=settings).compute_losses([torch.zeros(1, 1, 25, 25)], [samples])
    assert all(torch.isfinite(value) for value in losses.values())


def test_an_image_counts_the_same_however_many_rois_it_has():
    """(log 3 over 1 RoI + 0 over 3 RoIs) / 2: mean of means."""
    module = stage()
    with torch.no_grad():
        module.head.class_logits.weight.zero_()
        module.head.class_logits.weight[0] = 100.0
    one = module.draw_samples(
        torch.zeros(0, 4), Objects(torch.tensor([[0.0, 0, 8, 8]]), torch.tensor([1])), SIZE[0, 0]
    )
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    three = module.draw_samples(torch.tensor([[0.0, 0, 8, 8]] * 3), nothing, SIZE[0, 0])
    features = torch.zeros(2, 1, 25, 25)  # undecided in the first image...
    features[1] = 1.0  # ...sure of the background in the second
    losses = module.compute_losses([features], [one, three])
    assert losses["classification"].item() == pytest.approx(math.log(3) / 2)


def test_measured_offsets_are_taken_off_targets_and_put_back_onto_answers():
    """Class 1 has mean t_y = 0.1 and deviation 0.5: a target of t_y = 0.3 becomes 0.4."""
    module = stage()
    mean, std = torch.zeros(2, 4), torch.full((2, 4), 0.5)
    mean[1, 1] = 0.1
    module.normalise_offsets(OffsetStatistics(mean, std))
    objects = Objects(torch.tensor([[0.0, 3, 10, 13]]), torch.tensor([1]))
    samples = module.draw_samples(torch.tensor([[0.0, 0, 10, 10]]), objects, torch.tensor(0))
    place = samples.boxes.tolist().index([0, 0, 10, 10])
    torch.testing.assert_close(samples.target_offsets[place], torch.tensor([0.0, 0.4, 0, 0]))

    module.head = FixedHead([[0.1, 0.1, 0.8]], [[[0.0] * 4, [0.0] * 4, [0.0, 0.4, 0, 0]]])
    features, roi = [torch.zeros(1, 1, 25, 25)], [torch.tensor([[0.0, 0, 10, 10]])]
    (found,) = module.detect(features, roi, SIZE)
    torch.testing.assert_close(found.boxes[0], torch.tensor([0.0, 3, 10, 13]))


def test_statistics_of_offsets_travel_with_the_weights():
    assert {"offset_mean", "offset_std"} <= set(stage().state_dict())
