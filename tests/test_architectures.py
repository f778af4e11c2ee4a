"""The contract of `Detector`, for every architecture of the package.

A new detector adds one line to `DETECTORS`; a detector without one fails here.
"""

import importlib
import pkgutil
from collections.abc import Callable
from inspect import isabstract

import pytest
import torch

from lit_detseg.models import detectors
from lit_detseg.models.detector import Detector
from lit_detseg.models.detectors.fast_rcnn import FastRCNNDetector
from lit_detseg.models.detectors.faster_rcnn import FasterRCNNDetector
from lit_detseg.models.detectors.fcis import FCISDetector
from lit_detseg.models.detectors.mask_rcnn import MaskRCNNDetector
from lit_detseg.models.detectors.rcnn import RCNNDetector
from lit_detseg.models.detectors.region_proposals import RegionProposalDetector
from lit_detseg.models.detectors.spp_net import SPPNetDetector
from tests.tiny_detection import (
    make_images,
    make_target,
    tiny_fast_rcnn,
    tiny_faster_rcnn,
    tiny_fcis,
    tiny_mask_rcnn,
    tiny_rcnn,
    tiny_region_proposals,
    tiny_spp_net,
)

DETECTORS: dict[type[Detector], Callable[[], Detector]] = {
    FastRCNNDetector: tiny_fast_rcnn,
    FasterRCNNDetector: tiny_faster_rcnn,
    FCISDetector: tiny_fcis,
    MaskRCNNDetector: tiny_mask_rcnn,
    RegionProposalDetector: tiny_region_proposals,
    RCNNDetector: tiny_rcnn,
    SPPNetDetector: tiny_spp_net,
}
NUM_CLASSES = 3  # of them all

SOME = make_target([[4, 4, 30, 30], [40, 10, 90, 50]], [2, 0], masks=True)
NONE = make_target([], [], masks=True)
PIXEL = make_target([[17, 9, 18, 10]], [1], masks=True)
CROWD = SOME._replace(is_crowd=torch.tensor([True, False]))
HARD = SOME._replace(is_difficult=torch.tensor([True, True]))
MANY = [[i % 60, i // 12, i % 60 + 30, i // 12 + 25] for i in range(300)]
BATCHES = {
    "objects": [SOME, SOME],
    "one image without objects": [SOME, NONE],
    "no objects": [NONE, NONE],
    "an object of one pixel": [PIXEL, NONE],
    "a crowd": [CROWD, NONE],
    "difficult objects only": [HARD, HARD],
    "300 objects": [make_target(MANY, [1] * 300, masks=True), NONE],
}
PROPOSALS = [
    torch.tensor([[2.0, 2, 32, 30], [44, 8, 90, 48], [0, 0, 96, 64], [16, 8, 19, 11]]),
    torch.zeros(0, 4),
]


@pytest.fixture(params=DETECTORS, ids=lambda architecture: architecture.__name__)
def detector(request):
    torch.manual_seed(0)
    return DETECTORS[request.param]()


@pytest.fixture
def images():
    """Of which the second has no proposals."""
    return make_images([(64, 96), (50, 70)])._replace(proposals=PROPOSALS)


def test_every_detector_of_the_package_is_tested_here():
    for module in pkgutil.iter_modules(detectors.__path__, f"{detectors.__name__}."):
        importlib.import_module(module.name)
    found, waiting = set(), [Detector]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        waiting += subclasses
        found |= {c for c in subclasses if c.__module__.startswith(detectors.__name__)}
    assert {c for c in found if not isabstract(c)} == set(DETECTORS)


@pytest.mark.parametrize("batch", BATCHES)
def test_losses_are_finite_and_reach_every_trainable_parameter(detector, images, batch):
    losses = detector(images, BATCHES[batch])
    assert all(value.ndim == 0 and torch.isfinite(value) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    trainable = {n: p for n, p in detector.named_parameters() if p.requires_grad}
    assert [name for name, p in trainable.items() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in trainable.values())


def test_names_of_the_losses_never_change(detector, images):
    names = {tuple(detector(images, targets)) for targets in BATCHES.values()}
    assert len(names) == 1


def test_targets_decide_what_comes_out_not_the_mode(detector, images):
    for mode in (True, False):
        detector.train(mode)
        assert isinstance(detector(images), list)
        assert isinstance(detector(images, [SOME, NONE]), dict)


def test_detections_are_valid(detector, images):
    for found, (height, width) in zip(detector(images), images.sizes.tolist(), strict=True):
        assert len(found.boxes) == len(found.labels) == len(found.scores)
        assert found.boxes.shape[1:] == (4,)
        assert found.labels.dtype == torch.int64
        assert found.boxes.dtype == found.scores.dtype == torch.float32
        assert ((found.labels >= 0) & (found.labels < NUM_CLASSES)).all()
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert (found.scores.diff() <= 0).all(), "best score first"
        left, top, right, bottom = found.boxes.unbind(1)
        assert ((left >= 0) & (left < right) & (right <= width)).all()
        assert ((top >= 0) & (top < bottom) & (bottom <= height)).all()
        if found.mask_cells is not None:
            assert found.mask_cells.dtype == torch.float32
            assert found.mask_cells.ndim == 3
            assert len(found.mask_cells) == len(found.boxes)
            assert ((found.mask_cells >= 0) & (found.mask_cells <= 1)).all()


def test_losses_and_gradients_are_finite_under_autocast(detector, images):
    for targets in BATCHES.values():
        detector.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = detector(images, targets)
        assert {value.dtype for value in losses.values()} == {torch.float32}
        torch.stack(list(losses.values())).sum().backward()
        gradients = [p.grad for p in detector.parameters() if p.requires_grad]
        assert all(gradient is not None for gradient in gradients)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_images_without_any_proposal_give_losses_and_no_detection(detector, images):
    nothing = images._replace(proposals=[torch.zeros(0, 4)] * 2)
    losses = detector(nothing, [NONE, NONE])
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in detector.parameters() if p.requires_grad)
    assert len(detector(nothing)) == 2


def test_a_state_dict_is_the_whole_detector(detector, images):
    torch.manual_seed(1)
    other = DETECTORS[type(detector)]()
    other.load_state_dict(detector.state_dict())
    detector.eval(), other.eval()
    for first, second in zip(detector(images), other(images), strict=True):
        assert torch.equal(first.boxes, second.boxes)
        assert torch.equal(first.scores, second.scores)


def test_the_same_batch_gives_the_same_losses(detector, images):
    detector.eval()  # no dropout; whatever else is drawn hangs on the images' seeds
    first, second = detector(images, [SOME, NONE]), detector(images, [SOME, NONE])
    assert {n: v.item() for n, v in first.items()} == {n: v.item() for n, v in second.items()}
