"""Every kind of bad row, and masks against pycocotools."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask

from lit_detseg.data.packing.checks import (
    Kind,
    _decompressed,
    box_fault,
    check_objects,
    mask_fault,
    rle_fault,
    shard_keys,
    void_fault,
)
from lit_detseg.data.records import Object, RawSample
from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap

LABELS = LabelMap(("cat", "dog"))
SQUARE = [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0]]


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((0, 0, 10, 5), None),
        ((504, 337, 504, 337), Kind.ZERO_SIZE_BOX),
        ((5, 5, 5, 9), Kind.ZERO_SIZE_BOX),
        ((9, 5, 5, 9), Kind.INVERTED_BOX),
        ((5, 9, 9, 5), Kind.INVERTED_BOX),
        ((0, 0, math.nan, 5), Kind.NON_FINITE_BOX),
        ((0, 0, math.inf, 5), Kind.NON_FINITE_BOX),
    ],
)
def test_boxes_that_are_wrong_in_themselves(box, kind):
    found = box_fault(box)
    assert (found and found[0]) == kind


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_run_lengths_are_pycocotools_own(mask):
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    text = rle["counts"].decode()
    column_by_column = mask.ravel(order="F").astype(int)
    borders = np.flatnonzero(np.diff(np.concatenate([[0], column_by_column]))).tolist()
    runs = np.diff([0, *borders, mask.size]).tolist()

    assert _decompressed(text) == runs
    assert mask_fault({"size": list(mask.shape), "counts": text}, *mask.shape) is None


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_judged_without_an_exception(text):
    fault = rle_fault({"size": [4, 4], "counts": text})
    assert (fault is None) == (sum(_decompressed(text)) == 16 and min(_decompressed(text)) >= 0)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        pytest.param(SQUARE, None, id="a polygon"),
        pytest.param(SQUARE * 2, None, id="two polygons"),
        pytest.param([[1.0, 1.0, 5.0, 5.0]], "4 numbers", id="two points"),
        pytest.param([[1.0] * 7], "7 numbers", id="an odd number"),
        pytest.param([[1.0] * 5 + [math.nan]], "not a list of numbers", id="not finite"),
        pytest.param([1.0] * 6, "not a list of numbers", id="a flat list"),
        pytest.param([], "neither", id="nothing"),
        pytest.param("mask.png", "neither", id="a file name"),
        pytest.param({"size": [10, 8], "counts": [80]}, None, id="uncompressed RLE"),
        pytest.param({"size": [10, 8], "counts": [70]}, "70 of 10 x 8", id="too few pixels"),
        pytest.param({"size": [10, 8], "counts": [90, -10]}, "run lengths", id="negative run"),
        pytest.param({"size": [8, 10], "counts": [80]}, "image's is", id="another image's"),
        pytest.param({"size": [8], "counts": [80]}, "height, width", id="half a size"),
        pytest.param({"counts": [80]}, "height, width", id="no size"),
        pytest.param({"size": [10, 8]}, "run lengths", id="no counts"),
        pytest.param({"size": [10, 8], "counts": "~~"}, "run lengths", id="not RLE text"),
    ],
)
def test_masks_of_an_image_10_high_and_8_wide(mask, reason):
    found = mask_fault(mask, height=10, width=8)
    assert found is None if reason is None else reason in found


def sample(*objects):
    return RawSample("a", b"", 100, 200, tuple(objects), file_name="a.jpg")


def cat(box, area=1.0, mask=None):
    return Object(box, 0, area, mask, source_id=7)


@pytest.mark.parametrize(
    "box",
    [(0.0, 0.0, 200.0, 100.0), (-1.0, -0.5, 200.9, 101.0), (199.5, 99.5, 200.0, 100.0)],
    ids=["the whole image", "overshoots of a pixel and less", "the last half pixel"],
)
@pytest.mark.parametrize("clip", [False, True])
def test_rounding_at_the_border_is_kept_as_annotated(box, clip):
    checked = check_objects(sample(cat(box)), LABELS, 100, 200, clip)
    assert checked == ((cat(box),), [], [])


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        pytest.param((-5.0, 10, 20, 30), (0, 10, 20, 30), id="left"),
        pytest.param((180.0, 90, 230, 130), (180, 90, 200, 100), id="right and below"),
        pytest.param((210.0, 10, 230, 30), None, id="beside the image"),
        pytest.param((200.0, 10, 200.5, 30), None, id="beside it by less than a pixel"),
        pytest.param((-4.0, -4, 0, 0), None, id="touches the corner"),
    ],
)
def test_boxes_that_leave_the_image(box, cut):
    given_sample = sample(cat(box, area=1e6))

    dropped = check_objects(given_sample, LABELS, 100, 200, clip=False)
    clipped = check_objects(given_sample, LABELS, 100, 200, clip=True)

    assert dropped.objects == ()
    assert [fault.kind for fault in dropped.faults] == [Kind.BOX_OUTSIDE_IMAGE]
    if cut is None:
        assert clipped == dropped
    else:
        area = (cut[2] - cut[0]) * (cut[3] - cut[1])
        assert clipped.objects == (cat(cut, area),)
        assert (clipped.faults, clipped.clipped) == ([], dropped.faults)


def test_a_bad_object_costs_only_itself_and_is_named():
    good = cat((1.0, 1.0, 5.0, 5.0), mask=SQUARE)
    bad = Object((1.0, 1.0, 5.0, 5.0), 1, 16.0, [[1.0, 2.0]], source_id=9)

    checked = check_objects(sample(good, bad), LABELS, 100, 200, clip=True)

    assert checked.objects == (good,)
    assert str(checked.faults[0]) == (
        "a.jpg, object 9 (dog): malformed mask: a polygon has 2 numbers, not 6, 8, 10..."
    )


@pytest.mark.parametrize(
    ("void", "reason"),
    [
        (None, None),
        ({"size": [10, 8], "counts": [80]}, None),
        ({"size": [10, 8], "counts": [79]}, "79 of 10 x 8"),
        ({"size": [8, 10], "counts": [80]}, "image's is"),
        ([[1.0, 1, 5, 1, 5, 5]], "no RLE"),
    ],
)
def test_void_of_an_image_10_high_and_8_wide(void, reason):
    fault = void_fault(void, "a.jpg", 10, 8)
    if reason is None:
        assert fault is None
    else:
        assert (fault.kind, fault.file) == (Kind.MALFORMED_VOID, "a.jpg")
        assert reason in fault.detail


def test_keys_are_sorted_and_have_no_separators():
    keys = shard_keys(["street/b.left", "a"])
    assert list(keys.items()) == [("a", "a"), ("street-b-left", "street/b.left")]


@pytest.mark.parametrize("names", [["a.b", "a-b"], ["a", "a"]])
def test_two_images_of_one_key_are_refused(names):
    with pytest.raises(UserError, match="Two images would have the shard key"):
        shard_keys(names)


def test_a_name_too_long_for_a_tar_is_refused():
    assert list(shard_keys(["x" * 90])) == ["x" * 90]
    with pytest.raises(UserError, match="91 bytes, at most 90"):
        shard_keys(["x" * 91])
