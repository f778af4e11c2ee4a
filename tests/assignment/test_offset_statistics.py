"""Mean and deviation of box offsets, against sums done by hand."""

import pytest
import torch

from lit_detseg.assignment.matching import Objects
from lit_detseg.assignment.offset_statistics import measure_offsets

FALLBACK = (0.1, 0.1, 0.2, 0.2)


def objects(boxes, labels):
    return Objects(torch.tensor(boxes, dtype=torch.float32), torch.tensor(labels))


def test_offsets_of_a_class_are_measured_with_those_of_the_object_itself():
    """t_y is 0.1 and -0.2 from two proposals, 0 from the object's own box; t_x is 0.1 once."""
    proposals = torch.tensor([[0.0, 0, 10, 10], [1, 3, 11, 13], [50, 50, 60, 60]])
    truth = objects([[1, 1, 11, 11]], [1])

    mean, std = measure_offsets([(proposals, truth)], 2, 0.5, FALLBACK)

    t_y = torch.tensor([0.1, -0.2, 0.0]).double()
    assert mean[1, 1].item() == pytest.approx(t_y.mean().item())
    assert std[1, 1].item() == pytest.approx(t_y.std(correction=0).item())
    # mirrored images count too: t_x is 0.1, -0.1 and four times 0
    assert mean[1, 0] == 0
    assert std[1, 0].item() == pytest.approx((2 * 0.1**2 / 6) ** 0.5)


def test_what_overlaps_too_little_does_not_count():
    far = torch.tensor([[6.0, 0, 16, 10]])  # IoU 0.25
    near = torch.tensor([[0.0, 1, 10, 11]])
    truth = objects([[0, 0, 10, 10]], [0])
    without = measure_offsets([(near, truth)], 1, 0.5, FALLBACK)
    both = measure_offsets([(torch.cat([near, far]), truth)], 1, 0.5, FALLBACK)
    assert all(torch.equal(a, b) for a, b in zip(without, both, strict=True))


def test_a_class_that_cannot_be_measured_falls_back():
    """Class 0 has no object, class 1 an object that no proposal is on."""
    truth = objects([[0, 0, 10, 10]], [1])
    mean, std = measure_offsets([(torch.zeros(0, 4), truth)], 2, 0.5, FALLBACK)
    assert mean.abs().sum() == 0
    torch.testing.assert_close(std, torch.tensor([FALLBACK] * 2))


def test_images_without_objects_add_nothing():
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    image = torch.tensor([[0.0, 1, 10, 11]]), objects([[0, 0, 10, 10]], [0])
    one = measure_offsets([image], 1, 0.5, FALLBACK)
    two = measure_offsets([image, (torch.rand(5, 4), nothing)], 1, 0.5, FALLBACK)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
