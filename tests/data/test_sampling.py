"""Samplings ask for what their papers say; whoever reads, the order of the images is one."""

import numpy as np
import pytest

from lit_detseg.data.loading.batches import BatchReader
from lit_detseg.data.loading.loader import PositionedLoader
from lit_detseg.data.records import Object
from lit_detseg.data.sampling import (
    ClassBalanced,
    RepeatFactor,
    Sampling,
    orientations,
    training_order,
)
from lit_detseg.data.shards import ClassCounts, ShardReader
from lit_detseg.structures import LabelMap, UserError
from tests.data.shard_sets import raw_sample, write_shards

CLASSES = LabelMap(("common", "rare", "unseen"))


def counts(classes_of_images, num_classes=3):
    rows = [(i, c, 5) for i, classes in enumerate(classes_of_images) for c in classes]
    table = ClassCounts(*np.array(rows, np.int64).reshape(-1, 3).T)
    return table, len(classes_of_images), num_classes


def test_repeat_factors_worked_out_by_hand():
    """f = 3/4 and 1/4: with t = 1/2, max(1, sqrt(2/3)) = 1 and sqrt(2); five cats count once."""
    table = counts([{0}, {0, 1}, {0}, set()])
    assert RepeatFactor(0.5).frequencies(*table) == pytest.approx([1, np.sqrt(2), 1, 1])
    assert RepeatFactor(1).frequencies(*table) == pytest.approx(
        [np.sqrt(4 / 3), 2] + [2 / 3**0.5, 1]
    )


def test_class_balance_worked_out_by_hand():
    """3 images with objects, 2 classes: 3/2 x 1/3 for each that shows the first class, + 3/2 x 1/1
    for the one that shows the second; class by class, 3/2 draws of an epoch's 3."""
    copies = ClassBalanced().frequencies(*counts([{0}, {0, 1}, {0}, set()]))
    assert copies == pytest.approx([0.5, 2, 0.5, 1])
    assert copies.sum() == pytest.approx(4)


def test_class_balance_of_images_of_one_class_shows_each_class_equally_often():
    classes = [{0}] * 90 + [{1}] * 9 + [{2}]
    copies = ClassBalanced().frequencies(*counts(classes))
    shown = [copies[[c in of_one for of_one in classes]].sum() for c in range(3)]
    assert shown == pytest.approx([100 / 3] * 3)


@pytest.mark.parametrize("sampling", [RepeatFactor(0.5), ClassBalanced()])
def test_a_set_without_objects_is_shown_once(sampling):
    assert sampling.frequencies(*counts([set(), set()])).tolist() == [1, 1]


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(UserError, match=r"above 0 and at most 1.*0\.001"):
        RepeatFactor(threshold)


def test_a_sampling_is_known_by_its_settings():
    assert repr(RepeatFactor(0.001)) == "RepeatFactor(threshold=0.001)"
    assert repr(ClassBalanced()) == "ClassBalanced()"


def test_a_square_image_counts_as_upright():
    assert orientations(np.array([[5, 6], [6, 5], [6, 6]])).tolist() == [1, 0, 0]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """23 images in shards of 3: every third is upright, the fifth, tenth... show a rare class."""
    samples = []
    for number in range(23):
        labels = [0] if number % 5 else [0, 1]
        boxes = [Object((0.0, 0.0, 4.0, 4.0), label, 16.0) for label in labels]
        height, width = (8, 6) if number % 3 == 0 else (6, 8)
        pixels = np.full((height, width, 3), number, np.uint8)
        samples.append(raw_sample(f"{number:02d}", pixels, boxes))
    folder = tmp_path_factory.mktemp("sampling") / "set"
    return ShardReader([write_shards(folder, samples, 3, CLASSES)])


SAMPLED = {"sampling": RepeatFactor(0.9), "group_by_aspect_ratio": True, "shuffle_window": 3}


def test_the_order_of_a_reader_knows_classes_and_shapes(reader):
    order = training_order(reader, 4, **SAMPLED, seed=3)
    # f(rare) = 5/23: sqrt(0.9 x 23/5) = 2.03 copies; f(common) = 1. Upright: 8 images, of which 0
    # and 15 are rare (10.07 copies); the other 15 hold 5, 10 and 20 (18.10): 11 + 19 are listed.
    assert order.images_per_epoch == 30
    assert order.steps == 11 // 4 + 19 // 4
    assert order.sampling == "RepeatFactor(threshold=0.9)"
    for epoch in range(4):
        listed = np.bincount(order.epoch(epoch), minlength=23)
        assert set(listed[::5]) <= {2, 3}
        assert set(np.delete(listed, np.arange(0, 23, 5))) == {1}


# 4 ranks x 3 workers are more than the 8 shards.
@pytest.mark.parametrize(
    ("ranks", "workers"), [(1, 0), (1, 1), (1, 3), (2, 0), (4, 0), (4, 1), (4, 3)]
)
@pytest.mark.parametrize("options", [{}, SAMPLED, {**SAMPLED, "tail": "wrap", "accumulate": 2}])
def test_what_ranks_and_workers_deliver_is_the_global_order(reader, ranks, workers, options):
    order = training_order(reader, 4, **options)
    loaders = [
        PositionedLoader(
            BatchReader(reader, training=True), order, rank, ranks, num_workers=workers
        )
        for rank in range(ranks)
    ]
    for loader in loaders:
        loader.load_state_dict({"step": order.steps + 1})  # resumed in the second epoch

    read = [[batch.annotations.image_ids for batch in loader] for loader in loaders]

    steps = range(order.steps + 1, 2 * order.steps)
    assert [len(of_rank) for of_rank in read] == [len(steps)] * ranks
    delivered = [sum(of_step, []) for of_step in zip(*read, strict=True)]
    assert delivered == [reader.keys[order.slots(step).samples].tolist() for step in steps]
    flat = np.concatenate([order.slots(step).samples for step in range(order.steps, steps.stop)])
    whole = order.epoch(1)
    np.testing.assert_array_equal(flat, np.resize(whole, len(flat)))


def test_one_shard_of_one_image_serves_many_ranks_and_workers(tmp_path):
    sample = raw_sample("only", np.zeros((4, 4, 3), np.uint8))
    reader = ShardReader([write_shards(tmp_path / "set", [sample])])
    order = training_order(reader, 4, tail="wrap", companions=2)
    for rank in range(4):
        loader = PositionedLoader(BatchReader(reader), order, rank, 4, num_workers=2)
        assert [batch.annotations.image_ids for batch in loader] == [["only"]]


class Squared(Sampling):
    """A user's own: images count as often as the square of their classes."""

    def __init__(self, power: float = 2) -> None:
        self.power = power

    def frequencies(self, class_counts, num_images, num_classes):
        return np.bincount(class_counts.sample, minlength=num_images) ** self.power


def test_a_users_own_sampling_is_asked(reader):
    order = training_order(reader, 4, Squared())
    assert order.images_per_epoch == 18 + 5 * 4
    assert order.sampling == "Squared(power=2)"
