"""Which images a page shows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.data.records import Object
from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.shards import ShardReader
from lit_detseg.reports.chosen_images import REMOTE_SHARDS, at_hand, named, spread_over
from lit_detseg.structures import LabelMap, UserError
from tests.data.shard_sets import raw_sample, write_numbered, write_shards

CLASSES = LabelMap(("common", "rare", "rarest", "absent"))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """40 images: all show class 0, numbers 7 and 8 class 1 too, number 30 class 2 too."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    shown = {7: [0, 1], 8: [0, 1], 30: [0, 2]}
    samples = [
        raw_sample(
            f"{number:03d}",
            pixels,
            [Object((0, 0, 8, 8), label, 64.0) for label in shown.get(number, [0])],
        )
        for number in range(40)
    ]
    folder = tmp_path_factory.mktemp("chosen") / "set"
    return ShardReader(write_shards(folder, samples, 10, CLASSES))


@given(count=st.integers(3, 40), seed=st.integers(0, 1000))
def test_each_class_is_shown_where_there_is_room(reader, count, seed):
    chosen = spread_over(reader, count, seed)
    assert len(np.unique(chosen)) == count
    assert chosen.tolist() == sorted(chosen)
    assert 30 in chosen
    assert {7, 8} & set(chosen.tolist())


def test_without_room_the_rarest_class_comes_first(reader):
    assert spread_over(reader, 1).tolist() == [30]
    first, second = spread_over(reader, 2).tolist()
    assert first in (7, 8)
    assert second == 30


def test_all_images_are_chosen_when_there_are_fewer(reader):
    assert spread_over(reader, 1000).tolist() == list(range(40))


def test_another_seed_gives_other_images(reader):
    assert spread_over(reader, 10, 0).tolist() == spread_over(reader, 10, 0).tolist()
    assert spread_over(reader, 10, 0).tolist() != spread_over(reader, 10, 1).tolist()


def test_the_choice_is_spread_over_the_set(tmp_path):
    chosen = spread_over(ShardReader(write_numbered(tmp_path / "set", images=200)), 100)
    # Of 50 images, 25 are expected in each quarter, with a standard deviation of 3.1.
    assert np.all(np.abs(np.bincount(chosen // 50) - 25) < 4 * 3.1)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["003", "001", "003"], id="one by one"),
        pytest.param(["003,001"], id="with commas"),
    ],
)
def test_keys_are_found_in_stored_order(reader, words):
    assert named(reader, words).tolist() == [1, 3]


def test_a_key_may_hold_spaces_and_commas(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    keys = ["a, b", "c d"]
    folder = write_shards(tmp_path / "set", [raw_sample(key, pixels) for key in keys])
    assert named(ShardReader(folder), ["c d", "a, b"]).tolist() == [0, 1]


def test_an_unknown_key_is_refused_with_the_nearest(reader):
    with pytest.raises(UserError, match=r"'0O7'.*nearest is '0.7'"):
        named(reader, ["0O7"])


def test_of_a_remote_set_a_few_shards_are_drawn_from(tmp_path):
    folder = write_numbered(tmp_path / "set", images=40, samples_per_shard=4)
    remote = ShardReader(folder, ShardCache(str(tmp_path / "cache")), cache_local=True)
    assert remote.shards[0].is_remote

    near = at_hand(remote)
    assert near.sum() == REMOTE_SHARDS * 4
    assert len(np.unique(remote.shard_of[near])) == REMOTE_SHARDS
    assert near[spread_over(remote, 10)].all()
    assert len(spread_over(remote, 1000)) == REMOTE_SHARDS * 4
    assert at_hand(ShardReader(folder)).all()
