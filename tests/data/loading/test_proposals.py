"""Proposals go where their image goes: by hand, and against the objects they are equal to."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.data.loading.batches import BatchReader, unpack_batch
from lit_detseg.data.order import Slots
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.proposals.writer import write_proposals
from lit_detseg.data.transforms import (
    LargeScaleJitter,
    Letterbox,
    MultiScale,
    PhotometricDistortion,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResize,
    RandomVerticalFlip,
    Resize,
    ResizeShortestSide,
)
from tests.data.proposals.sets import reader_of
from tests.data.shard_sets import raw_sample, write_shards
from tests.data.transforms.drawn import Shape, draw

BOXES = [[2.0, 1.0, 6.0, 5.0], [0.0, 0.0, 8.0, 6.0], [7.0, 5.0, 8.0, 6.0]]


def batch_of(reader, proposals, transforms, samples=(0,), training=True, **options):
    """The unpacked batch of some images."""
    batches = BatchReader(reader, transforms, training, proposals=proposals, **options)
    seeds = np.arange(len(samples)) if training else None
    return unpack_batch(batches[Slots(np.array(samples, dtype=np.int64), seeds)])


@pytest.fixture
def one(tmp_path):
    """An image of 6 x 8 pixels with three proposals, one of 4 x 4 with none; their readers."""
    sizes = {"a": (6, 8, 3), "b": (4, 4, 3)}
    images = [raw_sample(key, np.zeros(size, np.uint8)) for key, size in sizes.items()]
    folder = write_shards(tmp_path / "set", images)
    boxes = [np.array(BOXES), np.zeros((0, 4))]
    write_proposals(folder, "drawn", boxes, "by hand", {})
    reader = reader_of(folder)
    return reader, ProposalReader(reader, "drawn")


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        pytest.param([], BOXES, id="as it is"),
        pytest.param(
            [Resize(12, 4)], [[1, 2, 3, 10], [0, 0, 4, 12], [3.5, 10, 4, 12]], id="x / 2, y x 2"
        ),
        pytest.param(
            [RandomHorizontalFlip(1.0)],
            [[2, 1, 6, 5], [0, 0, 8, 6], [0, 5, 1, 6]],
            id="x becomes 8 - x",
        ),
        pytest.param(
            [RandomVerticalFlip(1.0), Resize(12, 16)],
            [[4, 2, 12, 10], [0, 0, 16, 12], [14, 0, 16, 2]],
            id="y becomes 6 - y, then both x 2",
        ),
        pytest.param(
            [Letterbox(16, 16)],
            [[4, 4, 12, 12], [0, 2, 16, 14], [14, 12, 16, 14]],
            id="x 2, two rows further down",
        ),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_where_proposals_go_by_hand(one, transforms, expected, training):
    proposals, nothing = batch_of(*one, transforms, (0, 1), training).images.proposals
    np.testing.assert_allclose(proposals, expected, rtol=1e-6)
    assert proposals.dtype == nothing.dtype == torch.float32
    assert nothing.shape == (0, 4)


def test_a_crop_cuts_proposals_and_drops_those_outside(one):
    """Whichever 3 x 4 part is kept: the whole image becomes the whole part."""
    seen = set()
    for seed in range(40):
        batches = BatchReader(one[0], [RandomCrop(size=(3, 4))], True, proposals=one[1])
        batch = unpack_batch(batches[Slots(np.array([0]), np.array([seed]))])
        (rows,), (target,) = batch.images.proposals, batch.targets
        left, top = (-side for side in target.placement[2:])
        expected = []
        for x1, y1, x2, y2 in BOXES:
            cut = [max(x1 - left, 0), max(y1 - top, 0), min(x2 - left, 4), min(y2 - top, 3)]
            if cut[2] > cut[0] and cut[3] > cut[1]:
                expected.append(cut)
        assert rows.tolist() == expected
        assert [0, 0, 4, 3] in expected
        seen.add(len(expected))
    assert seen == {2, 3}  # any part shows some of the middle one, few the corner


def test_the_first_so_many_of_each_image_are_placed(one):
    reader, _ = one
    first = ProposalReader(reader, "drawn", max_proposals=2)
    proposals = batch_of(reader, first, [], (0, 1)).images.proposals
    assert [rows.tolist() for rows in proposals] == [BOXES[:2], []]


def test_without_proposals_there_are_none(one):
    assert batch_of(one[0], None, []).images.proposals is None


def test_a_batch_of_no_images_has_no_proposals(one):
    assert batch_of(*one, [], ()).images.proposals == []


def test_they_travel_as_one_tensor_and_are_cut_on_the_device_without_a_copy(one):
    from lightning.fabric.utilities import move_data_to_device

    packed = BatchReader(one[0], proposals=one[1])[Slots(np.array([1, 0, 0]), None)]
    assert packed.proposals.boxes.shape == (6, 4)
    assert packed.proposals.counts.tolist() == [0, 3, 3]

    moved = unpack_batch(move_data_to_device(packed, torch.device("meta"))).images.proposals
    assert [rows.device.type for rows in moved] == ["meta"] * 3
    here = unpack_batch(packed).images.proposals
    assert here[1].data_ptr() == packed.proposals.boxes.data_ptr()  # a view


SIDES = st.integers(20, 70)
MOVES = st.one_of(
    st.builds(Resize, SIDES, SIDES),
    st.builds(Letterbox, SIDES, SIDES),
    st.builds(lambda side: ResizeShortestSide([side, side + 9], 2 * side), SIDES),
    st.builds(lambda low: RandomResize(scales=(low, 1.5)), st.floats(0.4, 1.2)),
    st.builds(MultiScale, st.just([32, 48])),
    st.builds(LargeScaleJitter, SIDES, SIDES),
    st.builds(lambda side: RandomCrop(size=(side, side)), SIDES),
    st.builds(lambda low: RandomCrop(fractions=(low, 1.0), keep_object=True), st.floats(0.3, 0.9)),
    st.builds(RandomHorizontalFlip),
    st.builds(RandomVerticalFlip),
    st.just(PhotometricDistortion()),
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Images with up to three objects, whose boxes are the first proposals; some more follow."""
    scenes = [
        (40, 48, [Shape("rectangle", (1, 2, 12, 20)), Shape("arch", (20, 5, 47, 39), "rle")]),
        (30, 60, [Shape("corner", (0, 0, 60, 30), "box")]),
        (50, 25, []),
        (36, 36, [Shape("octagon", (3, 3, 15, 14)), Shape("two_parts", (18, 20, 36, 36))]),
    ]
    samples, boxes = [], []
    for number, (height, width, shapes) in enumerate(scenes):
        sample = draw(height, width, shapes)
        samples.append(raw_sample(f"scene{number}", sample.image, sample.items))
        others = [[0, 0, width, height], [width - 3, height - 2, width, height]]
        boxes.append(np.concatenate([sample.boxes, others]))
    folder = write_shards(tmp_path_factory.mktemp("drawn") / "set", samples)
    write_proposals(folder, "drawn", boxes, "objects", {})
    reader = reader_of(folder)
    return reader, ProposalReader(reader, "drawn")


@given(st.lists(MOVES, max_size=4), st.integers(0, 2**40), st.booleans())
def test_a_proposal_that_is_an_object_s_box_stays_that_object_s_box(drawn, transforms, seed, masks):
    reader, proposals = drawn
    batches = BatchReader(reader, transforms, True, masks=masks, proposals=proposals)
    slots = Slots(np.arange(4), np.arange(4) + seed)
    batch = unpack_batch(batches[slots])

    rows_and_targets = zip(batch.images.proposals, batch.targets, strict=True)
    for number, (rows, target) in enumerate(rows_and_targets):
        height, width = batch.images.sizes[number].tolist()
        assert (rows >= 0).all()
        assert (rows <= torch.tensor([width, height, width, height])).all()
        assert (rows[:, 2:] > rows[:, :2]).all()
        for box, annotated in zip(target.boxes, target.original_boxes.tolist(), strict=True):
            # What is left of a mask that was cut has a box of its own.
            whole = placed(annotated, target.placement) == pytest.approx(box.tolist(), abs=1e-3)
            if not masks or whole:
                assert (rows - box).abs().amax(dim=1).min() < 1e-3


def placed(box, placement):
    """XYXY after x scale + offset, in plain arithmetic."""
    scale_x, scale_y, offset_x, offset_y = placement
    across = sorted(x * scale_x + offset_x for x in box[0::2])
    down = sorted(y * scale_y + offset_y for y in box[1::2])
    return [across[0], down[0], across[1], down[1]]
