"""A batch packed, moved and unpacked is the batch that was read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lit_detseg.data.loading.batches import BatchReader, lay_out, unpack_batch
from lit_detseg.data.order import Slots
from lit_detseg.data.records import Object
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms import (
    Letterbox,
    MixingTransform,
    RandomHorizontalFlip,
    Resize,
    Sample,
    Transform,
)
from lit_detseg.modules.original_size import to_original_size
from lit_detseg.structures import Detections, UserError
from tests.data.shard_sets import raw_sample, write_shards

OBJECTS = (
    Object(box=(1.0, 2.0, 5.0, 6.0), label=1, area=11.5),
    Object(box=(0.0, 0.0, 8.0, 4.0), label=0, area=32.0, is_crowd=True),
    Object(box=(2.0, 1.0, 7.0, 3.0), label=0, area=10.0, is_difficult=True),
)


@pytest.fixture
def reader(tmp_path):
    """Three images: 6 x 8 with three objects, 10 x 4 with none, 5 x 5 with one."""
    drawn = np.random.default_rng(0)
    images = [drawn.integers(256, size=(*s, 3), dtype=np.uint8) for s in [(6, 8), (10, 4), (5, 5)]]
    objects = [OBJECTS, (), OBJECTS[:1]]
    samples = [
        raw_sample(f"image{n}", *pair) for n, pair in enumerate(zip(images, objects, strict=True))
    ]
    return ShardReader([write_shards(tmp_path / "set", samples)])


def slots(*samples, seeds=None, companions=None):
    return Slots(np.array(samples, dtype=np.int64), seeds, companions)


def test_images_are_padded_to_the_right_and_below(reader):
    batch = unpack_batch(BatchReader(reader)[slots(0, 1, 2)])

    pixels, sizes, proposals, seeds = batch.images
    assert pixels.shape == (3, 3, 10, 8)
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    assert sizes.tolist() == [[6, 8], [10, 4], [5, 5]]
    assert proposals is None
    assert seeds is None
    for number, (height, width) in enumerate(sizes.tolist()):
        expected = torch.from_numpy(reader.image(number).copy()).permute(2, 0, 1)
        torch.testing.assert_close(pixels[number, :, :height, :width], expected)
        assert pixels[number].sum() == expected.sum(dtype=torch.int64)  # the rest is 0


@pytest.mark.parametrize(("divisor", "padded"), [(1, (10, 8)), (4, (12, 8)), (32, (32, 32))])
def test_the_padded_size_is_a_multiple_of_the_divisor(reader, divisor, padded):
    packed = BatchReader(reader, size_divisor=divisor)[slots(0, 1, 2)]
    assert packed.pixels.shape == (3, 3, *padded)


def test_evaluation_keeps_every_object_and_its_flags(reader):
    target, empty, _ = unpack_batch(BatchReader(reader)[slots(0, 1, 2)]).targets

    assert target.boxes.tolist() == [list(item.box) for item in OBJECTS]
    assert target.boxes.dtype == torch.float32
    assert target.labels.tolist() == [1, 0, 0]
    assert target.is_crowd.tolist() == [False, True, False]
    assert target.is_difficult.tolist() == [False, False, True]
    assert target.areas.tolist() == [11.5, 32.0, 10.0]
    assert target.areas.dtype == target.original_boxes.dtype == torch.float64
    assert (target.image_id, target.original_size) == ("image0", (6, 8))
    assert (empty.image_id, empty.original_size) == ("image1", (10, 4))
    shapes = [(0, 4), (0,), (0,), (0,), (0, 4), (0,)]
    fields = (empty.boxes, empty.labels, empty.is_crowd, empty.is_difficult)
    assert [tuple(f.shape) for f in (*fields, empty.original_boxes, empty.areas)] == shapes


def test_targets_bring_the_data_sets_own_ids(tmp_path):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    ids = (139, "a.b", None)
    samples = [
        replace(raw_sample(f"image{n}", pixels, ()), source_id=one) for n, one in enumerate(ids)
    ]
    reader = ShardReader([write_shards(tmp_path / "set", samples)])
    targets = unpack_batch(BatchReader(reader)[slots(0, 1, 2)]).targets
    assert tuple(target.source_id for target in targets) == ids


@pytest.mark.parametrize(("difficult", "labels"), [(False, [1]), (True, [1, 0])])
def test_training_leaves_out_crowds_and_maybe_difficult_objects(reader, difficult, labels):
    batches = BatchReader(reader, training=True, train_on_difficult=difficult)
    target = unpack_batch(batches[slots(0, seeds=np.array([5]))]).targets[0]
    assert target.labels.tolist() == labels
    assert not target.is_difficult.any()  # what training keeps, the detector learns from
    assert len(target.boxes) == len(target.areas) == len(target.original_boxes) == len(labels)


def test_resizing_moves_boxes_but_not_the_original_ones(reader):
    batches = BatchReader(reader, [Resize(12, 4)])
    target = unpack_batch(batches[slots(0)]).targets[0]
    assert target.boxes[0].tolist() == [0.5, 4.0, 2.5, 12.0]  # x halved, y doubled
    assert target.original_boxes[0].tolist() == [1.0, 2.0, 5.0, 6.0]
    assert target.original_size == (6, 8)


def test_augmentation_follows_the_seed_and_nothing_else(reader):
    batches = BatchReader(reader, [RandomHorizontalFlip(0.5)], training=True)
    together = batches[slots(0, 0, 2, seeds=np.array([11, 12, 13]))]
    alone = [batches[slots(sample, seeds=np.array([seed]))] for sample, seed in [(0, 11), (0, 12)]]
    assert together.seeds.tolist() == [11, 12, 13]
    for number, single in enumerate(alone):
        torch.testing.assert_close(single.pixels[0], together.pixels[number, :, :6, :8])


def test_a_rank_may_get_no_image(reader):
    packed = BatchReader(reader, size_divisor=32)[slots()]
    batch = unpack_batch(packed)
    assert batch.images.pixels.shape == (0, 3, 32, 32)
    assert batch.images.sizes.shape == (0, 2)
    assert packed.boxes.shape == (0, 4)
    assert batch.targets == []


def test_a_batch_without_any_object_unpacks(reader):
    batch = unpack_batch(BatchReader(reader)[slots(1, 1)])
    assert [len(target.boxes) for target in batch.targets] == [0, 0]


def test_lightning_moves_few_tensors_and_leaves_what_metrics_read(reader):
    from lightning.fabric.utilities import move_data_to_device

    packed = BatchReader(reader)[slots(0, 1, 2)]

    moved = move_data_to_device(packed, torch.device("meta"))

    assert {field.device.type for field in moved[:4]} == {"meta"}
    target = unpack_batch(moved).targets[0]
    assert target.boxes.device.type == "meta"
    for field in (target.original_boxes, target.areas, target.is_crowd, target.is_difficult):
        assert field.device.type == "cpu"


def test_an_image_is_laid_out_plane_by_plane_and_all_around_it_is_cleared():
    canvas = np.full((2, 3, 4, 5), 77, np.uint8)
    images = [np.arange(18, dtype=np.uint8).reshape(2, 3, 3), np.full((4, 5, 3), 9, np.uint8)]

    lay_out([images[0][:, ::-1], images[1]], canvas)  # a view that runs backwards, too

    expected = np.zeros((3, 4, 5), np.uint8)
    expected[:, :2, :3] = images[0][:, ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(canvas[0], expected)
    assert (canvas[1] == 9).all()


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


class Loses(Transform):
    """Leaves out the last object."""

    def __call__(self, sample, random):
        return sample.only(np.arange(len(sample.items)) < len(sample.items) - 1)


class Confuses(Transform):
    """Leaves out a box, but not its object."""

    def __call__(self, sample, random):
        return sample._replace(boxes=sample.boxes[1:])


def test_a_transform_that_loses_objects_in_evaluation_is_named_a_mistake(reader):
    with pytest.raises(UserError, match=r"image0.*3 before, 2 after"):
        BatchReader(reader, [Loses()])[slots(0)]
    trained = BatchReader(reader, [Loses()], training=True, train_on_difficult=True)
    assert len(trained[slots(0, seeds=np.array([1]))].labels) == 1


def test_fields_of_different_lengths_are_named(reader):
    with pytest.raises(UserError, match=r"image0 3 objects but 2 boxes"):
        BatchReader(reader, [Confuses()])[slots(0)]


def test_detections_find_back_from_a_letterbox_with_and_without_objects(reader):
    batch = unpack_batch(BatchReader(reader, [Letterbox(16, 16)])[slots(0, 1)])

    # 6 x 8 becomes 12 x 16 with two rows above; the 10 rows of the other image become 16.
    assert batch.targets[0].placement == (2.0, 2.0, 0.0, 2.0)
    assert batch.targets[1].placement[1::2] == (1.6, 0.0)
    as_found = [
        Detections(target.boxes, target.labels, torch.ones(len(target.boxes)))
        for target in batch.targets
    ]
    for found, target in zip(
        to_original_size(as_found, batch.images, batch.targets), batch.targets, strict=True
    ):
        torch.testing.assert_close(found.boxes, target.original_boxes, atol=1e-5, rtol=0)


class MovesBoxesOnly(Transform):
    """Forgets to say where the image went."""

    def __call__(self, sample, random):
        return sample._replace(boxes=sample.boxes + 3)


@pytest.mark.parametrize("transform", [RandomHorizontalFlip(1.0), MovesBoxesOnly()])
def test_evaluation_refuses_what_detections_would_not_find_back_from(reader, transform):
    with pytest.raises(UserError, match="Image image0: a transform of evaluation moves boxes"):
        BatchReader(reader, [transform])[slots(0)]
    BatchReader(reader, [transform], training=True)[slots(0, seeds=np.array([1]))]
