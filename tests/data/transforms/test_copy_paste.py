"""Objects of one image on another: what is covered, what is left, and what stays as annotated."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_detseg.data.transforms import CopyPaste, RandomHorizontalFlip, Resize, apply
from lit_detseg.structures import UserError
from tests.data.transforms.drawn import (
    BACKGROUND,
    COLOURS,
    Shape,
    check_agreement,
    check_content,
    check_whole,
    draw,
    pixels_of,
    samples,
)


def pasted(sample, other, seed=0, transform=None):
    transform = CopyPaste() if transform is None else transform
    return apply([transform], sample, seed, [lambda transforms, seed: other])


def always(sample, other, transform=None):
    """The result for the first seed that draws the only object of the companion."""
    results = (pasted(sample, other, seed, transform) for seed in range(100))
    return next(result for result in results if result.image is not sample.image)


@pytest.mark.parametrize("how", ["polygon", "rle"])
def test_by_hand(how):
    """The right half of a rectangle is covered: its box shrinks, the pasted one keeps its mask."""
    sample = draw(20, 40, [Shape("rectangle", (4, 4, 16, 12), how)])
    other = draw(20, 40, [Shape("rectangle", (10, 2, 30, 14), how)], first_colour=1)
    result = always(sample, other)
    assert result.boxes.tolist() == [[4, 4, 10, 12], [10, 2, 30, 14]]
    assert result.items[0].mask["size"] == [20, 40]
    assert result.items[1] is other.items[0]
    expected = sample.image.copy()
    expected[2:14, 10:30] = COLOURS[1]
    np.testing.assert_array_equal(result.image, expected)
    left = pixels_of(result)[0]
    assert left.sum() == 6 * 8
    assert left[4:12, 4:10].all()


def test_what_is_not_touched_stays_as_annotated():
    sample = draw(20, 40, [Shape("corner", (2, 4, 16, 18)), Shape("octagon", (24, 4, 38, 18))])
    other = draw(20, 40, [Shape("rectangle", (28, 4, 39, 10))], first_colour=2)
    result = always(sample, other)
    assert result.items[0] is sample.items[0]
    assert result.items[1] is not sample.items[1]
    # The pasted box meets the box of the first object here, but none of its pixels.
    notch = draw(20, 40, [Shape("rectangle", (10, 2, 20, 10))], first_colour=2)
    assert always(sample, notch).items[0] is sample.items[0]


@pytest.mark.parametrize("how", ["polygon", "rle", "box"])
def test_what_is_wholly_covered_goes(how):
    sample = draw(20, 40, [Shape("rectangle", (12, 6, 20, 12), how)])
    other = draw(20, 40, [Shape("rectangle", (10, 4, 22, 14))], first_colour=1)
    assert [item.label for item in always(sample, other).items] == [1]


def test_an_object_without_mask_keeps_its_box_while_some_of_it_is_seen():
    sample = draw(20, 40, [Shape("rectangle", (8, 6, 20, 12), "box")])
    other = draw(20, 40, [Shape("rectangle", (10, 4, 22, 14))], first_colour=1)
    result = always(sample, other)
    assert result.boxes[0].tolist() == [8, 6, 20, 12]
    assert result.items[0] is sample.items[0]


@pytest.mark.parametrize("how", ["polygon", "box"])
def test_the_least_visible_fraction_counts_what_was_seen_before(how):
    """A quarter of the object is left."""
    sample = draw(20, 40, [Shape("rectangle", (8, 6, 24, 12), how)])
    other = draw(20, 40, [Shape("rectangle", (12, 4, 26, 14))], first_colour=1)
    assert len(always(sample, other, CopyPaste(least_visible_fraction=0.25)).items) == 2
    assert len(always(sample, other, CopyPaste(least_visible_fraction=0.26)).items) == 1


def test_objects_without_mask_and_crowds_are_not_pasted():
    sample = draw(20, 40, [])
    other = draw(20, 40, [Shape("rectangle", (2, 2, 12, 12), "box")])
    crowd = draw(20, 40, [Shape("rectangle", (2, 2, 12, 12), "rle")])
    crowd = crowd._replace(items=(replace(crowd.items[0], is_crowd=True),))
    for seed in range(20):
        assert pasted(sample, other, seed) is sample
        assert pasted(sample, crowd, seed) is sample


def test_each_object_is_pasted_half_of_the_time():
    sample = draw(20, 40, [])
    other = draw(20, 40, [Shape("rectangle", (2, 2, 12, 12)), Shape("arch", (20, 2, 32, 12))])
    drawn = [{item.label for item in pasted(sample, other, seed).items} for seed in range(400)]
    for subset in (set(), {0}, {1}, {0, 1}):
        assert abs(drawn.count(subset) - 100) < 5 * (400 * 0.25 * 0.75) ** 0.5


def test_images_of_other_sizes_share_their_upper_left_corner():
    small, large = draw(12, 16, []), draw(20, 40, [])
    object_of = {"first_colour": 1}
    near = always(large, draw(12, 16, [Shape("rectangle", (4, 3, 14, 11))], **object_of))
    assert near.image.shape == large.image.shape
    assert near.boxes.tolist() == [[4, 3, 14, 11]]
    far = always(small, draw(20, 40, [Shape("rectangle", (10, 6, 30, 18))], **object_of))
    assert far.boxes.tolist() == [[10, 6, 16, 12]]
    assert (far.image == BACKGROUND).all(axis=2).sum() == 12 * 16 - 6 * 6


def test_a_redrawn_mask_goes_on_to_move():
    sample = draw(20, 40, [Shape("rectangle", (4, 4, 16, 12))])
    other = draw(20, 40, [Shape("rectangle", (10, 2, 30, 14))], first_colour=1)
    result = apply([RandomHorizontalFlip(1.0), Resize(40, 40)], always(sample, other), seed=0)
    assert result.boxes.tolist() == [[30, 8, 36, 24], [10, 4, 30, 28]]
    left = pixels_of(result)[0]
    assert left.sum() == 6 * 16
    assert left[8:24, 30:36].all()


@pytest.mark.parametrize("how", ["polygon", "rle"])
def test_what_was_moved_before_is_redrawn_where_it_is(how):
    sample = draw(20, 40, [Shape("rectangle", (4, 4, 16, 12), how)])
    before = apply([RandomHorizontalFlip(1.0), Resize(40, 40)], sample, seed=0)
    other = draw(40, 40, [Shape("rectangle", (20, 0, 30, 40), how)], first_colour=1)
    result = always(before, other)
    assert result.boxes.tolist() == [[30, 8, 36, 24], [20, 0, 30, 40]]
    assert pixels_of(result)[0].sum() == 6 * 16
    check_content(result, 2)
    check_agreement(result, 0)


def test_pasting_happens_as_often_as_asked():
    sample, read = draw(20, 40, []), []
    for seed in range(500):
        apply([CopyPaste(0.3)], sample, seed, [lambda transforms, seed: read.append(1) or sample])
    assert abs(len(read) - 150) < 5 * (500 * 0.3 * 0.7) ** 0.5


@settings(max_examples=50)
@given(samples(), samples(first_colour=2, least_objects=1), st.integers(0, 2**32))
def test_masks_lie_on_their_objects_and_not_on_each_other(sample, other, seed):
    result = pasted(sample, other, seed)
    check_whole(result)
    check_agreement(result)
    check_content(result)
    assert pixels_of(result).sum(axis=0).max(initial=0) <= 1


def test_impossible_arguments_are_refused():
    with pytest.raises(UserError, match=r"CopyPaste: probability = 1.2"):
        CopyPaste(1.2)
    with pytest.raises(UserError, match="least_visible_fraction"):
        CopyPaste(least_visible_fraction=-0.1)
