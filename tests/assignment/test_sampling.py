"""The draw: SplitMix64 in exact integers, and the papers' shares of positives and negatives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.assignment.matching import IGNORE
from lit_detseg.assignment.sampling import (
    ANCHORS,
    ROIS,
    draw_priorities,
    sample,
    sampled_labels,
)

WORD = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15


def mix(number: int) -> int:
    """SplitMix64's mixer on unsigned Python integers, which do not overflow."""
    number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & WORD
    number = ((number ^ number >> 27) * 0x94D049BB133111EB) & WORD
    return number ^ number >> 31


def test_mixer_is_the_published_splitmix64():
    """The first numbers of the reference program for the state 0."""
    assert [mix(STEP * n & WORD) for n in (1, 2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    purpose=st.sampled_from([ANCHORS, ROIS]),
    key=st.integers(0, 2**60),
)
def test_priorities_are_exact_64_bit_arithmetic(seed, purpose, key):
    state = mix(seed + STEP * (purpose + 1) & WORD)
    expected = mix(state + (key + 1) * STEP & WORD)
    ours = draw_priorities(torch.tensor(seed), purpose, torch.tensor([key]))
    assert ours.item() & WORD == expected


def counts(labels, num_samples=256, positive_fraction=0.5):
    labels = torch.tensor(labels)
    samples = sample(labels, num_samples, positive_fraction, torch.tensor(7), ANCHORS)
    drawn = sampled_labels(labels, samples)
    return (drawn > 0).sum().item(), (drawn == 0).sum().item()


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [
        pytest.param(500, 5000, (128, 128), id="plenty of both: 1 to 1"),
        pytest.param(10, 5000, (10, 246), id="few positives: padded with negatives"),
        pytest.param(0, 5000, (0, 256), id="no object: negatives only"),
        pytest.param(500, 20, (128, 20), id="few negatives: positives do not fill up"),
        pytest.param(0, 0, (0, 0), id="nothing to draw from"),
    ],
)
def test_shares_of_the_region_proposal_network(positives, negatives, expected):
    assert counts([1] * positives + [IGNORE] * 30 + [0] * negatives) == expected


def test_shares_of_fast_rcnn():
    assert counts([3] * 90 + [0] * 900, 128, 0.25) == (32, 96)
    assert counts([3] * 90 + [0] * 900, 64, 0.25) == (16, 48)


def test_nothing_is_drawn_twice_or_against_its_label():
    labels = torch.tensor([1, 0, IGNORE, 0, 2, 0])
    samples = sample(labels, 4, 0.5, torch.tensor(1), ROIS)
    drawn = samples.places[samples.valid].tolist()
    assert len(drawn) == len(set(drawn)) == 4
    assert 2 not in drawn


def test_every_candidate_has_the_same_chance():
    """1000 draws of 5 out of 20: each is drawn 250 times, give or take 5 deviations of 13.7."""
    labels = torch.zeros(20, dtype=torch.int64)
    drawn = torch.zeros(20)
    for seed in range(1000):
        samples = sample(labels, 5, 0.5, torch.tensor(seed), ANCHORS)
        drawn[samples.places[samples.valid]] += 1
    assert drawn.sum() == 5000
    assert ((drawn - 250).abs() < 5 * (1000 * 0.25 * 0.75) ** 0.5).all()


def test_the_draw_depends_on_the_seed_and_the_purpose_alone():
    labels = torch.zeros(1000, dtype=torch.int64)

    def draw(seed, purpose):
        return set(sample(labels, 50, 0.5, torch.tensor(seed), purpose).places[25:].tolist())

    before = torch.random.get_rng_state()
    assert draw(1, ANCHORS) == draw(1, ANCHORS)
    assert len(draw(1, ANCHORS) & draw(2, ANCHORS)) < 20
    assert len(draw(1, ANCHORS) & draw(1, ROIS)) < 20
    assert torch.equal(torch.random.get_rng_state(), before)


def test_keys_stand_for_boxes_wherever_they_are_in_the_list():
    labels, keys = torch.zeros(100, dtype=torch.int64), torch.arange(100) * 17
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    first = sample(labels, 10, 0.5, torch.tensor(3), ANCHORS, keys)
    second = sample(labels, 10, 0.5, torch.tensor(3), ANCHORS, keys[order])
    assert set(keys[first.places[first.valid]].tolist()) == set(
        keys[order][second.places[second.valid]].tolist()
    )
