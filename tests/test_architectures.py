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
from lit_detseg.models.detectors.faster_rcnn import FasterRCNNDetector
from lit_detseg.models.proposals import AnchorSettings, ProposalSettings
from tests.tiny_detection import TinyBackbone, make_images, make_target

NUM_CLASSES = 3


def faster_rcnn() -> Detector:
    return FasterRCNNDetector(
        TinyBackbone(),
        NUM_CLASSES,
        anchors=AnchorSettings(sizes=((16.0,), (32.0,))),
        proposals=ProposalSettings(min_side=0.0),
        head_width=32,
        rpn_channels=16,
    )


DETECTORS: dict[type[Detector], Callable[[], Detector]] = {
    FasterRCNNDetector: faster_rcnn,
}

SOME = make_target([[4, 4, 30, 30], [40, 10, 90, 50]], [2, 0])
NONE = make_target([], [])
BATCHES = {
    "objects": [SOME, SOME],
    "one image without objects": [SOME, NONE],
    "no objects": [NONE, NONE],
}


@pytest.fixture(params=DETECTORS, ids=lambda architecture: architecture.__name__)
def detector(request):
    torch.manual_seed(0)
    return DETECTORS[request.param]()


@pytest.fixture
def images():
    return make_images([(64, 96), (50, 70)])


def test_every_detector_of_the_package_is_tested_here():
    for module in pkgutil.iter_modules(detectors.__path__, f"{detectors.__name__}."):
        importlib.import_module(module.name)
    found, waiting = set(), [Detector]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        waiting += subclasses
        found |= {c for c in subclasses if c.__module__.startswith("lit_detseg.")}
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
