"""What counts as what in each stage of R-CNN and SPP-net, at the thresholds and between objects."""

import pytest
import torch

from lit_detseg.assignment.matching import Objects
from lit_detseg.assignment.regions import (
    R_CNN_REGIONS,
    SPP_NET_REGIONS,
    RegionSampling,
    all_regions,
    draw_regions,
    regression_pairs,
    svm_negatives,
)

OBJECT = [0.0, 0.0, 10.0, 10.0]
CAT, DOG = 0, 1


def part(share):
    """A region inside the object that has this IoU with it."""
    return [0.0, 0.0, 10.0, 10.0 * share]


def objects(boxes, labels):
    return Objects(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64))


NOTHING = objects([], [])
ALL = RegionSampling(positives=100, backgrounds=100)


@pytest.mark.parametrize(
    ("iou", "fine_tuning", "fine_tuning_spp", "is_negative", "is_pair", "is_pair_spp"),
    [
        # Labels: 1 the object's class (CAT), 0 background, None not drawn.
        pytest.param(0.0, 0, None, True, False, False, id="touches nothing"),
        pytest.param(0.05, 0, None, True, False, False, id="SPP-net's background begins at .1"),
        pytest.param(0.1, 0, 0, True, False, False, id=".1 itself is background of both"),
        pytest.param(0.29, 0, 0, True, False, False, id="just a negative of the SVM"),
        pytest.param(0.3, 0, 0, False, False, False, id=".3 itself is none"),
        pytest.param(0.49, 0, 0, False, False, False, id="the last background"),
        pytest.param(0.5, 1, 1, False, False, True, id=".5 itself is positive; SPP-net's pair"),
        pytest.param(0.6, 1, 1, False, False, True, id=".6 itself is no pair of R-CNN"),
        pytest.param(0.61, 1, 1, False, True, True, id="a pair of both"),
        pytest.param(1.0, 1, 1, False, True, True, id="the object itself"),
    ],
)
def test_a_region_means_something_else_to_each_stage(
    iou, fine_tuning, fine_tuning_spp, is_negative, is_pair, is_pair_spp
):
    regions, one = torch.tensor([part(iou) if iou else [50.0, 50, 60, 60]]), objects([OBJECT], [0])
    for background_iou, expected in ((0.0, fine_tuning), (0.1, fine_tuning_spp)):
        settings = RegionSampling(background_iou=(background_iou, 0.5))
        labels = draw_regions(regions, one, settings, torch.tensor(0)).labels.tolist()
        assert labels == [] if expected is None else labels == [expected]
    assert svm_negatives(regions, one, num_classes=1).tolist() == [[is_negative]]
    assert (len(regression_pairs(regions, one).places) == 1) is is_pair
    assert (len(regression_pairs(regions, one, 0.5, at_least=True).places) == 1) is is_pair_spp


def test_objects_come_before_proposals():
    proposals = torch.tensor([[1.0, 2, 3, 4]])
    assert all_regions(proposals, objects([OBJECT], [CAT])).tolist() == [OBJECT, [1.0, 2, 3, 4]]


def test_a_positive_has_the_class_of_the_object_it_overlaps_most():
    two = objects([OBJECT, [0.0, 0, 10, 12]], [CAT, DOG])
    regions = torch.tensor([part(1.0), [0.0, 0, 10, 12], [0.0, 0, 10, 11.9]])
    drawn = draw_regions(regions, two, ALL, torch.tensor(0))
    assert dict(zip(drawn.places.tolist(), drawn.labels.tolist(), strict=True)) == {
        0: 1,
        1: 2,
        2: 2,
    }


def test_an_image_gives_its_share_and_nothing_in_its_place():
    many = torch.tensor([part(0.8)] * 30 + [[50.0, 50, 60, 60]] * 30)
    one = objects([OBJECT], [DOG])
    drawn = draw_regions(many, one, R_CNN_REGIONS, torch.tensor(3))
    assert drawn.labels.tolist() == [2, 2, 0, 0, 0, 0, 0, 0]
    assert len(drawn.places.unique()) == 8

    one_positive = draw_regions(many[29:], one, R_CNN_REGIONS, torch.tensor(3))
    assert one_positive.labels.tolist() == [2, 0, 0, 0, 0, 0, 0]


def test_what_is_drawn_hangs_on_the_seed_alone():
    regions = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)).cumsum(dim=1)
    draws = [draw_regions(regions, NOTHING, ALL, torch.tensor(seed)).places for seed in (1, 1, 2)]
    assert draws[0].equal(draws[1])
    assert not draws[0].equal(draws[2])


def test_an_image_without_objects_is_background_to_r_cnn_and_nothing_to_spp_net():
    regions = torch.tensor([part(1.0)])
    assert draw_regions(regions, NOTHING, R_CNN_REGIONS, torch.tensor(0)).labels.tolist() == [0]
    assert draw_regions(regions, NOTHING, SPP_NET_REGIONS, torch.tensor(0)).labels.tolist() == []


def test_an_object_of_another_class_is_a_negative():
    two = objects([OBJECT, [20.0, 20, 30, 30]], [CAT, DOG])
    negatives = svm_negatives(all_regions(torch.zeros(0, 4), two), two, num_classes=3)
    assert negatives.tolist() == [[False, True, True], [True, False, True]]


def test_one_near_object_of_the_class_is_enough_not_to_be_a_negative():
    two_cats = objects([OBJECT, [20.0, 20, 30, 30]], [CAT, CAT])
    regions = torch.tensor([part(0.4), [20.0, 20, 30, 23.5], [50.0, 50, 60, 60]])
    assert svm_negatives(regions, two_cats, 2)[:, CAT].tolist() == [False, False, True]


def test_without_objects_every_region_is_a_negative_of_every_class_and_no_pair():
    regions = torch.tensor([part(1.0), part(0.5)])
    assert svm_negatives(regions, NOTHING, num_classes=2).all()
    assert len(regression_pairs(regions, NOTHING).places) == 0


def test_a_pair_is_with_the_nearest_object_of_equally_near_ones_the_first():
    twins = objects([OBJECT, OBJECT, [0.0, 0, 10, 9]], [DOG, CAT, CAT])
    pairs = regression_pairs(torch.tensor([part(1.0), part(0.9), [50.0, 50, 60, 60]]), twins)
    assert pairs.places.tolist() == [0, 1]
    assert pairs.objects.tolist() == [0, 2]


def test_an_empty_region_is_background_and_no_pair():
    empty = torch.tensor([[5.0, 5, 5, 5]])
    one = objects([OBJECT], [CAT])
    assert draw_regions(empty, one, R_CNN_REGIONS, torch.tensor(0)).labels.tolist() == [0]
    assert svm_negatives(empty, one, 1).all()
    assert len(regression_pairs(empty, one).places) == 0
