"""Image, boxes and masks stay together, whatever is done to them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from lit_detseg.data.records import Object
from lit_detseg.data.transforms import (
    CopyPaste,
    DarknetColour,
    LargeScaleJitter,
    Letterbox,
    MixingTransform,
    Mosaic,
    MultiScale,
    PhotometricDistortion,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResize,
    RandomVerticalFlip,
    Resize,
    ResizeLongestSide,
    ResizeShortestSide,
    Sample,
    TorchvisionTransform,
    apply,
    inside_canvas,
)
from lit_detseg.data.transforms.base import companions_of, follow, move
from lit_detseg.structures import UserError
from tests.data.transforms.drawn import (
    FINE,
    Shape,
    check_agreement,
    check_content,
    check_whole,
    draw,
    pixels_of,
    samples,
    tight,
)

# Every transform, and by how much it may enlarge beyond the ratio of the images' sizes.
ALL = {
    ResizeShortestSide([20, 30, 60], 70): 1,
    ResizeLongestSide(40): 1,
    Resize(33, 50): 1,
    RandomResize(sizes=[(20, 30), (41, 37)]): 1,
    RandomResize(scales=(0.5, 1.5)): 1,
    MultiScale([32, 48]).at_step(25, seed=3): 1,
    Letterbox(40, 52): 1,
    LargeScaleJitter(36, 44, 0.5, 2.0): 2.2,
    RandomHorizontalFlip(0.5): 1,
    RandomVerticalFlip(0.5): 1,
    RandomCrop(size=(20, 26)): 1,
    RandomCrop(fractions=(0.4, 0.9), keep_object=True, least_visible_fraction=0.3): 1,
    Mosaic(44, 40, 0.6, 1.4): 1.6,
    CopyPaste(1.0): 1,
    TorchvisionTransform(v2.RandomHorizontalFlip(0.5)): 1,
    PhotometricDistortion(): 1,
    DarknetColour(): 1,
}
NEW_COLOURS = (PhotometricDistortion, DarknetColour)
seeds = st.integers(0, 2**63 - 1)


def name_of(transform):
    return type(transform).__name__


def companion_of(sample):
    """A companion that reads one sample."""
    return lambda transforms, seed: apply(transforms, sample, seed)


@pytest.mark.parametrize("transform", ALL, ids=name_of)
@settings(max_examples=25)
@given(samples(), samples(("polygon", "rle"), first_colour=2, least_objects=1), seeds)
def test_boxes_masks_and_pixels_agree_after_each_transform(transform, sample, other, seed):
    result = apply([transform], sample, seed, [companion_of(other)] * 3)

    check_whole(result)
    scale = np.abs(result.placements[:, :2]).max(initial=1)
    check_agreement(result, tolerance=0.5 + scale / 2)
    if not isinstance(transform, NEW_COLOURS):
        check_content(result, blur=1 + 1.5 * scale)


@settings(max_examples=60)
@given(
    st.lists(samples(("polygon", "rle", "box")), min_size=4, max_size=4),
    st.lists(st.sampled_from(list(ALL)), min_size=2, max_size=4),
    seeds,
)
def test_boxes_and_masks_agree_after_any_chain(group, transforms, seed):
    """A step that redraws a mask is half a pixel off, which later steps may enlarge."""
    random = np.random.default_rng(seed)
    tolerances = [1.0] * 4
    for transform in transforms:
        if isinstance(transform, MixingTransform):
            others = [lambda one=one: one for one in group[1 : 1 + transform.companions]]
            results = [transform.mix(group[0], others, random), *group[1:]]
        else:
            results = [transform(sample, random) for sample in group]
        ratios = [
            max(np.divide(after.image.shape[:2], before.image.shape[:2]))
            for after in results
            for before in group
        ]
        factor = max(1, ALL[transform] * max(ratios))
        group, tolerances = results, [max(tolerances) * factor + 0.5] * 4
    for sample, tolerance in zip(group, tolerances, strict=True):
        check_whole(sample)
        inside = inside_canvas(sample)
        check_whole(inside)
        check_inside(inside, tolerance)


def check_inside(sample, tolerance):
    for box, pixels in zip(sample.boxes, pixels_of(sample, FINE), strict=True):
        if pixels.any():
            around = tight(pixels) / FINE
            assert (around[:2] >= box[:2] - tolerance).all()
            assert (around[2:] <= box[2:] + tolerance).all()


@settings(max_examples=20)
@given(st.lists(st.sampled_from(list(ALL)), min_size=1, max_size=4), seeds)
def test_sample_and_seed_alone_decide(transforms, seed):
    sample = draw(30, 40, [Shape("arch", (2, 3, 18, 20)), Shape("octagon", (22, 5, 39, 28), "rle")])
    image = sample.image.copy()
    others = [companion_of(sample)] * companions_of(transforms)

    before = global_states()
    first = apply(transforms, sample, seed, others)
    assert global_states() == before
    torch.rand(1), np.random.rand()  # what others draw changes nothing
    second = apply(transforms, sample, seed, others)

    for one, two in zip(first[:2] + first[3:], second[:2] + second[3:], strict=True):
        np.testing.assert_array_equal(one, two)
    assert first.items == second.items
    np.testing.assert_array_equal(sample.image, image)  # what was given is not written on


def global_states():
    # Not that of `random`: beartype, which checks types in tests, draws from it.
    return str(np.random.get_state()), torch.get_rng_state().tolist()


@pytest.mark.parametrize("transform", ALL, ids=name_of)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_tiny_and_narrow_images_pass(transform, size):
    height, width = size
    image = np.full((height, width, 3), 9, np.uint8)
    square = [[0.0, 0, width, 0, width, height, 0, height]]
    outside = [[2.0 * width, 0, 3 * width, 0, 3 * width, height]]
    items = [
        Object((0.0, 0.0, width, height), 0, 1.0, square),
        Object((2.0 * width, 0.0, 3.0 * width, height), 1, 1.0, outside),
        Object((-9.0, -9.0, -1.0, -1.0), 2, 1.0),
        Object((0.0, 0.0, 0.0, 0.0), 2, 1.0),
    ]
    for objects in ([], items):
        sample = Sample.from_objects(image, objects)
        for seed in range(5):
            result = apply([transform], sample, seed, [companion_of(sample)] * 3)
            check_whole(result)
            check_whole(inside_canvas(result))


def test_companions_come_out_of_the_transforms_before_the_one_that_mixes():
    asked = []

    def companion(transforms, seed):
        asked.append((transforms, seed))
        return draw(24, 24, [Shape("rectangle", (2, 2, 20, 20))])

    flip, jitter, mosaic = (
        RandomHorizontalFlip(),
        LargeScaleJitter(24, 24),
        Mosaic(24, 24, 0.5, 0.5),
    )
    paste, resize = CopyPaste(1.0), Resize(20, 20)
    sample = draw(24, 24, [])
    apply([flip, mosaic, jitter, paste, resize], sample, 0, [companion] * 4)
    assert [transforms for transforms, _ in asked] == [[flip]] * 3 + [[flip, jitter]]
    assert len({seed for _, seed in asked}) == 4


def test_too_few_companions_are_refused():
    sample = draw(24, 24, [])
    with pytest.raises(
        UserError, match="Mosaic and CopyPaste mix 4 further images .* 1 were given"
    ):
        apply([Mosaic(24, 24), CopyPaste()], sample, 0, [companion_of(sample)])


def test_a_mixing_transform_does_not_work_alone():
    with pytest.raises(TypeError, match="CopyPaste mixes images"):
        CopyPaste()(draw(24, 24, []), np.random.default_rng(0))


def test_to_move_takes_boxes_placements_and_windows_along():
    sample = draw(20, 40, [Shape("rectangle", (4, 2, 14, 12))])
    canvas = np.zeros((60, 50, 3), np.uint8)
    moved = move(sample, canvas, scale=(-0.5, 2), offset=(30, 10))
    assert moved.boxes.tolist() == [[30 - 7, 14, 30 - 2, 34]]
    assert moved.placements.tolist() == [[-0.5, 2, 30, 10]]
    assert moved.windows.tolist() == [[10, 10, 30, 50]]
    again = move(moved, canvas[:22, :25], scale=(-1, 1), offset=(50, -20))
    assert again.boxes.tolist() == [[50 - 28, -6, 50 - 23, 14]]
    assert again.placements.tolist() == [[0.5, 2, 20, -10]]
    assert again.windows.tolist() == [[20, 0, 25, 22]]  # of [20, -10, 40, 30]


def test_boxes_end_at_the_canvas_and_empty_ones_go():
    boxes = [(-5.0, 2, 4, 30), (3, 3, 3, 9), (25, 0, 30, 5), (1, 1, 2, 2)]
    items = [Object(box, label, area=1.0) for label, box in enumerate(boxes)]
    sample = Sample.from_objects(np.zeros((10, 20, 3), np.uint8), items)
    result = inside_canvas(sample)
    assert result.boxes.tolist() == [[0, 2, 4, 10], [1, 1, 2, 2]]
    assert [item.label for item in result.items] == [0, 3]


def test_boxes_follow_the_image_but_not_into_the_grey_around_what_was_cut():
    """40 x 20 pixels cut to [10, 0, 30, 20], mirrored, and put on a canvas of 40 x 30."""
    sample = draw(20, 40, [])
    cut = move(sample, sample.image[:, 10:30], offset=(-10, 0))
    mirrored = move(cut, cut.image[:, ::-1], scale=(-1, 1), offset=(20, 0))
    padded = move(mirrored, np.zeros((30, 40, 3), np.uint8), offset=(5, 10))
    assert padded.placement == (-1, 1, 35, 10)  # x becomes 30 - x, then 5 more
    assert padded.window == (5, 10, 25, 30)

    boxes = np.array([[12, 3, 20, 9], [0, 0, 40, 20], [0, 0, 10, 20], [25, 5, 38, 25]])

    moved = follow(boxes, padded)
    assert moved.tolist() == [[15, 13, 23, 19], [5, 10, 25, 30], [5, 15, 10, 30]]
    assert moved.dtype == np.float32
    assert follow(np.zeros((0, 4)), padded).shape == (0, 4)


def test_a_sample_may_hold_some_of_the_objects():
    items = [Object((n, 0.0, n + 1, 1.0), label=0, area=1.0) for n in range(3)]
    sample = Sample.from_objects(np.zeros((8, 8, 3), np.uint8), [items[2], items[0]])
    assert sample.boxes.tolist() == [[2, 0, 3, 1], [0, 0, 1, 1]]
    assert sample.only(np.array([False, True])).items == (items[0],)
    none = Sample.from_objects(sample.image, [])
    assert none.boxes.shape == none.placements.shape == none.windows.shape == (0, 4)
