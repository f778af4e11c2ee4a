"""The negatives that are kept: whose they are, how many came, and what is forgotten."""

import torch

from lit_detseg.modules.rcnn_mining import HardNegatives


def rows(*numbers):
    """Features that show which region they are of."""
    return torch.tensor([[float(n), -float(n)] for n in numbers]).reshape(-1, 2)


def of_class(*lists):
    return torch.tensor(lists, dtype=torch.bool).reshape(-1, 2)


def some():
    negatives = HardNegatives(num_classes=2, num_features=2)
    negatives.add(rows(1, 2, 3), torch.tensor([1, 2, 3]), of_class([1, 0], [1, 1], [0, 1]))
    negatives.add(rows(4), torch.tensor([4]), of_class([1, 0]))
    return negatives


def test_each_class_has_its_own_in_the_order_in_which_they_came():
    negatives = some()
    assert negatives.of(0).equal(rows(1, 2, 4))
    assert negatives.of(1).equal(rows(2, 3))
    assert negatives.added.tolist() == [3, 2]
    assert len(negatives) == 4


def test_a_region_is_kept_once_though_it_comes_again():
    negatives = some()
    negatives.add(rows(3, 1, 5), torch.tensor([3, 1, 5]), of_class([1, 1], [1, 0], [0, 1]))
    assert len(negatives) == 5
    assert negatives.of(0).equal(rows(1, 2, 3, 4))  # region 3 stands where it was
    assert negatives.of(1).equal(rows(2, 3, 5))
    assert negatives.added.tolist() == [4, 3]  # region 3 is new to class 0, region 5 to class 1


def test_a_region_of_no_class_is_not_taken():
    negatives = some()
    negatives.add(rows(6), torch.tensor([6]), of_class([0, 0]))
    assert len(negatives) == 4


def test_easy_ones_go_and_the_count_begins_anew():
    negatives = some()
    negatives.settle(0, torch.tensor([True, True, False]))
    assert negatives.of(0).equal(rows(4))
    assert negatives.of(1).equal(rows(2, 3))
    assert negatives.added.tolist() == [0, 2]


def test_what_no_class_wants_is_forgotten_and_may_come_again():
    negatives = some()
    negatives.settle(0, torch.tensor([True, True, True]))
    negatives.tidy()
    assert negatives.keys.tolist() == [2, 3]
    negatives.add(rows(1), torch.tensor([1]), of_class([1, 0]))
    assert negatives.of(0).equal(rows(1))
    assert negatives.added.tolist() == [1, 2]


def test_its_state_is_all_of_it():
    negatives, other = some(), HardNegatives(2, 2)
    other.load_state_dict(negatives.state_dict())
    for one in (negatives, other):
        one.add(rows(2, 9), torch.tensor([2, 9]), of_class([0, 1], [1, 1]))
        one.settle(1, torch.tensor([True, False, False]))
        one.tidy()
    assert {n: v.tolist() for n, v in other.state_dict().items()} == {
        n: v.tolist() for n, v in negatives.state_dict().items()
    }
