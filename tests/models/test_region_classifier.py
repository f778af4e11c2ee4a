"""From features of regions to losses and detections, with features that are given by hand."""

import math

import pytest
import torch
from torch import nn

from lit_detseg.assignment.regions import RegionSampling
from lit_detseg.models.region_classifier import RegionClassifier
from lit_detseg.models.roi_stage import DetectionSettings
from lit_detseg.structures import UserError
from tests.tiny_detection import make_images, make_target

EVERYTHING = DetectionSettings(min_score=-1.0, max_detections=None)


class Given(RegionClassifier):
    """pool5 of region i is row i of a table, and fc7 is pool5."""

    def __init__(self, table, num_classes=2, **settings):
        table = torch.tensor(table, dtype=torch.float32)
        settings = {"detections": EVERYTHING, **settings}
        super().__init__(num_classes, table.shape[1], nn.Identity(), table.shape[1], **settings)
        self.table = table

    def region_features(self, images, boxes):
        return [self.table[: len(of_image)] for of_image in boxes]

    def feature_settings(self):
        return {}

    def with_svms(self, weights, bias):
        self.svms.weights.copy_(torch.tensor(weights, dtype=torch.float32))
        self.svms.bias.copy_(torch.tensor(bias, dtype=torch.float32))
        self.svms.scale.fill_(1.0)
        return self

    def with_boxes(self, bias):
        self.box_regressors.bias.copy_(torch.tensor(bias, dtype=torch.float32))
        self.box_regressors.scale.fill_(1.0)
        return self

    def with_softmax(self, weights):
        with torch.no_grad():
            self.class_logits.weight.copy_(torch.tensor(weights, dtype=torch.float32))
        return self


def images_with(*proposals):
    images = make_images([(64, 96)] * len(proposals))
    boxes = [torch.tensor(of_image, dtype=torch.float32).reshape(-1, 4) for of_image in proposals]
    return images._replace(proposals=boxes)


APART = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]


def test_scores_are_sigmoids_of_margins_and_keep_their_order():
    model = Given([[1.0], [3.0], [-2.0]]).with_svms([[1.0], [-1.0]], [0.0, 0.5])
    (found,) = model(images_with(APART))
    margins = {(0, 0): 1, (0, 1): -0.5, (1, 0): 3, (1, 1): -2.5, (2, 0): -2, (2, 1): 2.5}
    expected = sorted(margins, key=margins.get, reverse=True)
    places = [int(box[0] / 20) for box in found.boxes.tolist()]
    assert list(zip(places, found.labels.tolist(), strict=True)) == expected
    sigmoids = [1 / (1 + math.exp(-margins[pair])) for pair in expected]
    assert found.scores.tolist() == pytest.approx(sigmoids)


def test_the_softmax_leaves_the_background_out():
    model = Given([[1.0]], scorer="softmax").with_softmax([[0.0], [1.0], [2.0]])
    (found,) = model(images_with(APART[:1]))
    total = 1 + math.e + math.e**2
    assert found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([math.e**2 / total, math.e / total])


def test_svms_score_as_soon_as_there_are_any():
    model = Given([[1.0]])
    before = model(images_with(APART[:1]))[0].scores
    model.with_svms([[1.0], [1.0]], [0.0, 0.0])
    after = model(images_with(APART[:1]))[0].scores
    assert before.tolist() != after.tolist()
    assert after.tolist() == pytest.approx([1 / (1 + math.exp(-1))] * 2)

    model.scorer = "softmax"
    assert model(images_with(APART[:1]))[0].scores.equal(before)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"scorer": "svm"}, "SVMs of this detector were never fitted", id="SVMs"),
        pytest.param({"box_regression": True}, "box regressors .* never fitted", id="boxes"),
    ],
)
def test_what_was_never_fitted_cannot_be_used(settings, said):
    with pytest.raises(UserError, match=said):
        Given([[1.0]], **settings)(images_with(APART[:1]))


def test_boxes_are_moved_once_each_class_by_itself_then_clipped():
    """t_x = 0.5 of a width of 10; t_w = log 2, and what leaves the image is cut."""
    model = Given([[1.0]]).with_svms([[1.0], [0.0]], [0.0, 0.0])
    model.with_boxes([[0.5, 0, 0, 0], [0, 0, math.log(2), 0]])
    (found,) = model(images_with([[0, 0, 10, 10]]))
    assert found.labels.tolist() == [0, 1]
    assert found.boxes.tolist() == [[5, 0, 15, 10], [0, 0, 15, 10]]

    model.box_regression = False
    assert model(images_with([[0, 0, 10, 10]]))[0].boxes.tolist() == [[0, 0, 10, 10]] * 2


def test_boxes_are_suppressed_where_they_were_moved_to():
    """Two regions 20 pixels apart, of different widths: t_x = 1 and t_w = log 3 bring them near.

    [0, 0, 10, 10] becomes [0, 0, 30, 10]; [20, 0, 30, 10] becomes [20, 0, 50, 10]: IoU 10 / 50.
    """
    moved = [[1.0, 0, math.log(3), 0], [0, 0, 0, 0]]
    for nms_iou, count in ((0.19, 1), (0.21, 2)):
        detections = DetectionSettings(-1.0, nms_iou, max_detections=None)
        model = Given([[2.0], [1.0]], detections=detections)
        model.with_svms([[1.0], [0.0]], [0.0, 0.0]).with_boxes(moved)
        (found,) = model(images_with(APART[:2]))
        assert (found.labels == 0).sum() == count


def test_the_best_hundred_of_a_class_are_chosen_before_any_is_suppressed():
    """150 copies of one box and a worse one elsewhere: all hundred are the copies."""
    table = [[2.0]] * 150 + [[1.0]]
    model = Given(table, num_classes=1, detections=DetectionSettings(0.0, 0.3, None, 100))
    model.with_svms([[1.0]], [0.0])
    (found,) = model(images_with([APART[0]] * 150 + [APART[1]]))
    assert len(found.boxes) == 1


def test_equal_logits_cost_log_classes_for_each_region_of_a_full_mini_batch():
    """One image gives its 2 + 6 regions, the other 1 + 1: 10 of 16 cost log 3 each."""
    model = Given([[1.0]] * 50).with_softmax([[0.0]] * 3)
    full = [[0, 0, 10, 9], [0, 0, 10, 8]] + [[50, 50, 60, 60]] * 10
    images = images_with(full, [[50, 50, 60, 60]])
    targets = [make_target([[0, 0, 10, 10]], [1])] * 2
    loss = model(images, targets)["classification"]
    assert loss.item() == pytest.approx(10 * math.log(3) / 16)


def test_a_batch_on_two_ranks_is_the_batch_on_one():
    model = Given(torch.randn(50, 4).tolist()).with_softmax(torch.randn(3, 4).tolist())
    images = images_with(APART, [[50, 50, 60, 60]])
    targets = [make_target([[0, 0, 10, 10]], [1]), make_target([], [])]
    halves = []
    for i in range(2):
        part = images._replace(
            pixels=images.pixels[i : i + 1],
            sizes=images.sizes[i : i + 1],
            proposals=images.proposals[i : i + 1],
            seeds=images.seeds[i : i + 1],
        )
        halves.append(model(part, targets[i : i + 1])["classification"])
    whole = model(images, targets)["classification"]
    torch.testing.assert_close(whole, torch.stack(halves).mean())


def test_more_regions_of_an_image_are_drawn_when_asked_for():
    model = Given([[1.0]] * 50, sampling=RegionSampling(positives=6, backgrounds=18))
    images = images_with([[0, 0, 10, 9]] * 10 + [[50, 50, 60, 60]] * 30)
    (drawn,) = model.draw(images, [make_target([[0, 0, 10, 10]], [1])])
    assert drawn.labels.tolist() == [2] * 6 + [0] * 18


def test_the_new_layer_starts_as_in_the_paper():
    """fc8: weights of deviation 0.01, no bias."""
    layer = Given([[1.0] * 500], num_classes=20).class_logits
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert layer.bias.eq(0).all()
