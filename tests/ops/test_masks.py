"""Masks in pixels: against pycocotools, against a loop over all pixels, and by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from lit_detseg.ops.masks import decode_counts, pack_masks, rasterise, rle_columns, split_masks

UNMOVED = (1.0, 1.0, 0.0, 0.0)
FAR = 1e6


def packed(*annotated, placement=UNMOVED, window=(-FAR, -FAR, FAR, FAR)):
    count = len(annotated)
    rows = (np.tile(np.array(row), (count, 1)) for row in (placement, window))
    return pack_masks(annotated, [(100, 100)] * count, *rows)


def whole(masks, height, width):
    """The pixels of all objects in the whole image."""
    count = len(masks.polygons)
    boxes = np.tile(np.array([0.0, 0, width, height]), (count, 1))
    return rasterise(masks, np.arange(count), boxes, height, width)


def in_box(mask, box, height, width):
    return rasterise(packed(mask), np.array([0]), np.array([box], dtype=float), height, width)[0]


def rle_of(pixels, as_text=True):
    rle = coco.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return {
        "size": list(rle["size"]),
        "counts": rle["counts"].decode() if as_text else rle["counts"],
    }


def picture(pixels):
    return ["".join(".#"[int(cell)] for cell in row) for row in pixels]


random_pixels = arrays.arrays(
    np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans()
)


@given(random_pixels)
def test_an_rle_at_full_resolution_equals_pycocotools(pixels):
    rle = rle_of(pixels)
    expected = coco.decode(rle).astype(bool)
    np.testing.assert_array_equal(whole(packed(rle), *pixels.shape)[0], expected)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=12))
def test_runs_of_any_length_come_back(runs):
    """Differences of more than 16 or 512, or below 0, take several characters or a sign."""
    rle = coco.frPyObjects({"size": [sum(runs), 1], "counts": runs}, sum(runs), 1)
    assert decode_counts(np.frombuffer(rle["counts"], np.uint8)).tolist() == runs


def test_a_large_scattered_mask_equals_pycocotools():
    random = np.random.default_rng(0)
    pixels = random.random((2, 480, 640)) < [[[0.5]], [[0.0005]]]
    masks = packed(*(rle_of(one, as_text=False) for one in pixels))
    np.testing.assert_array_equal(whole(masks, 480, 640), pixels)


@pytest.mark.parametrize(
    "counts", [b"", b"0", b"11", b"PPY2"], ids=["nothing", "none", "too few", "cut off"]
)
def test_runs_that_do_not_fill_the_image_are_refused(counts):
    with pytest.raises(ValueError, match="of an image of 4 x 5"):
        rle_columns(np.frombuffer(counts, np.uint8), 4, 5)


def test_only_the_columns_that_hold_the_object_are_decoded():
    pixels = np.zeros((4, 9), bool)
    pixels[1:3, 5] = pixels[0, 6] = True
    rle = rle_of(pixels)
    first, columns = rle_columns(np.frombuffer(rle["counts"].encode(), np.uint8), 4, 9)
    assert first == 5
    assert picture(columns) == [".##.", "#..."]


def test_a_triangle_by_hand():
    """A centre (x, y) is inside where x + y < 4."""
    triangle = [[0.0, 0, 4, 0, 0, 4]]
    assert picture(whole(packed(triangle), 4, 4)[0]) == ["###.", "##..", "#...", "...."]


def test_a_ring_is_one_polygon_that_walks_twice():
    """Inside twice is outside: out along one edge, round the hole, and back."""
    ring = [[0.0, 0, 5, 0, 5, 5, 0, 5, 0, 0, 1, 1, 1, 4, 4, 4, 4, 1, 1, 1]]
    assert picture(whole(packed(ring), 5, 5)[0]) == ["#####", "#...#", "#...#", "#...#", "#####"]


def test_several_polygons_of_an_object_add_up_where_they_overlap():
    parts = [[0.0, 0, 3, 0, 3, 3, 0, 3], [2.0, 2, 5, 2, 5, 4, 2, 4]]
    assert picture(whole(packed(parts), 4, 5)[0]) == ["###..", "###..", "#####", "..###"]


def test_a_box_is_divided_into_cells():
    """The right half of a 2 x 2 square, seen in cells of half a pixel height and a third width."""
    square = [[1.0, 1, 3, 1, 3, 3, 1, 3]]
    assert picture(in_box(square, [2, 0, 4, 2], 4, 6)) == ["......", "......", "###...", "###..."]


def test_an_rle_is_sampled_at_the_centre_of_each_cell():
    pixels = np.array([[0, 1], [1, 1]], bool)
    assert picture(in_box(rle_of(pixels), [-1, 0, 3, 2], 2, 4)) == ["..#.", ".##."]
    assert picture(in_box(rle_of(pixels), [0, 0, 2, 2], 4, 4)) == ["..##", "..##", "####", "####"]


@pytest.mark.parametrize("as_rle", [False, True])
def test_a_placement_moves_and_mirrors(as_rle):
    outline = [[0.0, 0, 3, 0, 3, 1, 1, 1, 1, 2, 0, 2]]  # ### above #..
    mask = rle_of([[1, 1, 1], [1, 0, 0]]) if as_rle else outline
    mirrored = packed(mask, placement=(-2.0, 1.0, 7.0, 1.0))
    assert picture(whole(mirrored, 4, 8)[0]) == ["........", ".######.", ".....##.", "........"]


@pytest.mark.parametrize("as_rle", [False, True])
def test_nothing_is_seen_outside_of_the_window(as_rle):
    mask = rle_of(np.ones((4, 4))) if as_rle else [[0.0, 0, 4, 0, 4, 4, 0, 4]]
    masks = packed(mask, window=(1.0, 0.0, 3.4, 2.0))
    assert picture(whole(masks, 4, 4)[0]) == [".##.", ".##.", "....", "...."]


def test_an_object_without_mask_has_no_pixels():
    masks = packed(None, [[0.0, 0, 2, 0, 2, 2, 0, 2]], [])
    assert whole(masks, 2, 2).sum(axis=(1, 2)).tolist() == [0, 4, 0]


def test_a_region_may_lie_outside_and_have_no_area():
    square = [[0.0, 0, 4, 0, 4, 4, 0, 4]]
    for mask in (square, rle_of(np.ones((4, 4)))):
        assert not in_box(mask, [10, 10, 20, 20], 3, 3).any()
        assert in_box(mask, [2, 2, 2, 2], 3, 3).all()  # all cells at one point, which is inside
        assert not in_box(mask, [9, 2, 9, 2], 3, 3).any()


def test_no_region_and_no_object():
    square = packed([[0.0, 0, 4, 0, 4, 4, 0, 4]])
    assert rasterise(square, np.zeros(0, int), np.zeros((0, 4)), 3, 5).shape == (0, 3, 5)
    assert rasterise(packed(), np.zeros(0, int), np.zeros((0, 4)), 3, 5).shape == (0, 3, 5)


# No corner is level with a centre, and no edge runs through one.
corners = st.tuples(st.integers(-4, 24), st.integers(-4, 16)).map(
    lambda corner: (corner[0] + 0.3137851, corner[1] + 0.4219373)
)


@given(st.lists(st.lists(corners, min_size=3, max_size=9), min_size=1, max_size=3))
def test_any_polygon_equals_the_even_odd_rule_point_by_point(lines):
    polygons = [[float(part) for point in line for part in point] for line in lines]
    expected = np.zeros((12, 20), bool)
    for row, column in np.ndindex(expected.shape):
        centre = column + 0.5, row + 0.5
        expected[row, column] = any(is_inside(centre, line) for line in lines)
    np.testing.assert_array_equal(whole(packed(polygons), 12, 20)[0], expected)


def is_inside(point, line):
    """Whether a ray to the right meets an odd number of edges."""
    x, y = point
    inside = False
    for (ax, ay), (bx, by) in zip(line, [*line[1:], line[0]], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            inside = not inside
    return inside


@pytest.mark.parametrize("seed", range(5))
def test_blobs_equal_pycocotools_and_opencv_up_to_their_borders(seed):
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, 40))
    radii = random.uniform(30, 60, 40)
    points = np.stack([75 + radii * np.cos(angles), 65 + radii * np.sin(angles)], axis=1)
    polygon = [points.ravel().tolist()]
    ours = whole(packed(polygon), 130, 150)[0]
    theirs = coco.decode(coco.merge(coco.frPyObjects(polygon, 130, 150))).astype(bool)
    opencv = cv2.fillPoly(np.zeros((130, 150), np.uint8), [points.round().astype(int)], 1) > 0
    near = cv2.polylines(np.zeros((130, 150), np.uint8), [points.round().astype(int)], True, 1, 3)
    assert ours.sum() > 3000
    for other in (theirs, opencv):
        assert not ((ours != other) & (near == 0)).any()


def test_a_batch_splits_into_its_images():
    square, part = [[0.0, 0, 2, 0, 2, 2, 0, 2]], [1.0, 1, 3, 1, 3, 3]
    mixed = [square, None, rle_of(np.eye(3)), [*square, part]]
    masks = packed(*mixed)
    first, none, second = split_masks(masks, [1, 0, 3])
    for field, (a, b, c) in zip(masks, zip(first, none, second, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate([a, b, c]), field)
    assert len(none.polygons) == len(none.points) == len(none.counts) == 0
    np.testing.assert_array_equal(
        np.concatenate([whole(one, 3, 3) for one in (first, none, second)]), whole(masks, 3, 3)
    )


def test_an_rle_knows_its_own_size():
    masks = pack_masks(
        [rle_of(np.ones((3, 7))), None], [(1, 1), (5, 6)], np.ones((2, 4)), np.ones((2, 4))
    )
    assert masks.sizes.tolist() == [[3, 7], [5, 6]]
