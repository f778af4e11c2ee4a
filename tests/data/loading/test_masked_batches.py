"""Masks travel in a batch as they were annotated, with where they stand now."""

from dataclasses import replace

import numpy as np
import pytest

from lit_detseg.data.loading.batches import BatchReader, unpack_batch
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms import MixingTransform, Resize, Sample
from tests.data.loading.test_batches import OBJECTS, slots
from tests.data.shard_sets import raw_sample, write_shards

TRIANGLE, SQUARE = [1.0, 2.0, 5.0, 2.0, 1.0, 6.0], [2.0, 3.0, 4.0, 3.0, 4.0, 5.0, 2.0, 5.0]
RLE = {"size": [6, 8], "counts": "724000g0"}
VOID = {"size": [6, 8], "counts": "Z16"}


@pytest.fixture
def masked(tmp_path):
    """A 6 x 8 image with four objects and one of 10 x 4 with a single one; the first has a void."""
    first, second, third = OBJECTS
    objects = [
        replace(first, mask=[TRIANGLE, SQUARE]),
        replace(second, mask=RLE),
        replace(third, mask=None),
        replace(first, mask=[SQUARE]),
    ]
    one = raw_sample("image0", np.zeros((6, 8, 3), np.uint8), objects)
    other = raw_sample("image1", np.ones((10, 4, 3), np.uint8), [replace(first, mask=[TRIANGLE])])
    return ShardReader([write_shards(tmp_path / "set", [replace(one, void=VOID), other])])


def test_masks_travel_as_annotated_with_where_they_stand_now(masked):
    packed = BatchReader(masked, [Resize(12, 4)], masks=True)[slots(1, 0)]
    one, other = (target.masks for target in unpack_batch(packed).targets)

    assert one.points.reshape(-1).tolist() == TRIANGLE
    assert one.placements.tolist() == [[1, 1.2, 0, 0]]  # 10 x 4 becomes 12 x 4
    assert one.sizes.tolist() == [[10, 4]]
    assert other.points.reshape(-1).tolist() == TRIANGLE + SQUARE + SQUARE
    assert other.polygons.tolist() == [2, 0, 0, 1]
    assert other.polygon_points.tolist() == [3, 4, 4]
    assert bytes(other.counts).decode() == RLE["counts"]
    assert other.count_bytes.tolist() == [0, 8, 0, 0]
    assert other.sizes.tolist() == [[6, 8]] * 4
    assert other.placements.tolist() == [[0.5, 2, 0, 0]] * 4
    assert other.windows.tolist() == [[0, 0, 4, 12]] * 4


def test_without_masks_none_are_read_and_all_else_is_the_same(masked):
    packed = BatchReader(masked)[slots(0, 1)]
    targets = unpack_batch(packed).targets
    assert packed.masks is None
    assert [target.masks for target in targets] == [None, None]
    assert targets[0].boxes.tolist() == [list(OBJECTS[n].box) for n in (0, 1, 2, 0)]


def test_void_regions_come_with_evaluation_only(masked):
    seen = [unpack_batch(BatchReader(masked)[slots(*of)]).targets for of in [(0, 1), (1,)]]
    assert [target.void for target in seen[0]] == [VOID, None]
    assert seen[1][0].void is None
    batches = BatchReader(masked, training=True)
    assert unpack_batch(batches[slots(0, seeds=np.array([1]))]).targets[0].void is None


def test_a_batch_without_images_has_no_masks_either(masked):
    packed = BatchReader(masked, masks=True)[slots()]
    assert (
        len(packed.masks.placements) == len(packed.masks.windows) == len(packed.masks.points) == 0
    )
    assert unpack_batch(packed).targets == []


class Below(MixingTransform):
    """Puts another image below the first."""

    def __init__(self):
        super().__init__(companions=1)

    def mix(self, sample, companions, random):
        other = companions[0]()
        down = np.array([0, sample.image.shape[0]])
        width = max(sample.image.shape[1], other.image.shape[1])
        pad = [
            np.pad(s.image, ((0, 0), (0, width - s.image.shape[1]), (0, 0)))
            for s in (sample, other)
        ]
        placed = other.placements.copy()
        placed[:, 2:] += down
        return Sample(
            np.concatenate(pad),
            np.concatenate([sample.boxes, other.boxes + np.tile(down, 2)]),
            sample.items + other.items,
            np.concatenate([sample.placements, placed]),
            np.concatenate([sample.windows, other.windows + np.tile(down, 2)]),
        )


def test_objects_of_a_mixed_in_image_keep_their_label_area_and_the_size_of_their_image(masked):
    batches = BatchReader(masked, [Below()], training=True, masks=True)
    mixed = batches[slots(0, seeds=np.array([3]), companions=np.array([[1]]))]
    target = unpack_batch(mixed).targets[0]

    assert target.image_id == "image0"
    assert target.labels.tolist() == [1, 1, 1]  # crowd and difficult are left out
    assert target.boxes[2].tolist() == [1.0, 8.0, 5.0, 12.0]  # 6 pixels further down
    assert target.original_boxes[2].tolist() == [1.0, 2.0, 5.0, 6.0]
    assert target.areas.tolist() == [11.5] * 3
    assert target.masks.sizes.tolist() == [[6, 8], [6, 8], [10, 4]]
    assert target.masks.placements[:, 3].tolist() == [0, 0, 6]
    assert target.masks.polygons.tolist() == [2, 1, 1]
