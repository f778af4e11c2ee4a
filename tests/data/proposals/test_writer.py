"""Anybody's boxes under a name."""

import hashlib

import numpy as np
import pytest

from lit_detseg.data.index import index_sha256
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.proposals.store import ProposalIndex
from lit_detseg.data.proposals.writer import write_proposals
from lit_detseg.errors import UserError
from tests.data.proposals.sets import contents, numbered_boxes, reader_of
from tests.data.shard_sets import write_numbered

COUNTS = [3, 0, 1, 2, 5, 0]  # in shards of four


@pytest.fixture
def folder(tmp_path):
    return write_numbered(tmp_path / "set", images=6)


def boxes():
    return (numbered_boxes(number, count) for number, count in enumerate(COUNTS))


def test_boxes_come_back_image_by_image(folder):
    written = write_proposals(folder, "rpn", boxes(), "rpn", {"checkpoint": "best"})

    place = folder / "proposals/rpn"
    read = ProposalIndex.read(place)
    assert read.to_bytes() == written.to_bytes() == (place / "proposals.json").read_bytes()
    assert read.shards_sha256 == index_sha256(folder)
    assert (read.method, read.options) == ("rpn", {"checkpoint": "best"})
    assert read.counts.tolist() == COUNTS
    assert [file.samples for file in read.files] == [4, 2]
    for file in read.files:
        data = (place / file.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)
    proposals = ProposalReader(reader_of(folder), "rpn")
    for number, expected in enumerate(boxes()):
        np.testing.assert_array_equal(proposals.boxes(number), expected)


def test_numpy_reads_the_files(folder):
    write_proposals(folder, "rpn", boxes(), "rpn", {})
    rows = np.load(folder / "proposals/rpn/boxes-000001.npy")
    np.testing.assert_array_equal(rows, numbered_boxes(4, 5))
    assert rows.dtype == np.dtype("<f4")


def test_the_same_boxes_give_the_same_bytes(folder):
    for name in ("a", "b"):
        write_proposals(folder, name, boxes(), "rpn", {})
    assert contents(folder / "proposals/a") == contents(folder / "proposals/b")


def test_a_name_that_is_taken_is_refused_unless_it_may_be_replaced(folder):
    write_proposals(folder, "rpn", boxes(), "rpn", {})
    before = contents(folder)
    with pytest.raises(UserError, match="rpn is not empty. Choose another --name, or give --over"):
        write_proposals(folder, "rpn", boxes(), "rpn", {})
    assert contents(folder) == before

    nothing = [np.zeros((0, 4))] * 6
    write_proposals(folder, "rpn", nothing, "rpn", {}, overwrite=True)
    assert ProposalIndex.read(folder / "proposals/rpn").counts.tolist() == [0] * 6
    assert [path.name for path in (folder / "proposals").iterdir()] == ["rpn"]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        pytest.param([numbered_boxes(0, 1)] * 5, "boxes for 5 images, the shards have 6", id="few"),
        pytest.param([numbered_boxes(0, 1)] * 7, "for more than the 6 images", id="many"),
        pytest.param([[[0, 0, 9, 9.5]]] * 6, "image 0000: box 0 of 1", id="outside"),
        pytest.param([np.zeros((2, 3))] * 6, r"image 0000: they have shape \(2, 3\)", id="3 sides"),
    ],
)
def test_nothing_appears_of_wrong_boxes(folder, given, wrong):
    with pytest.raises(UserError, match=wrong):
        write_proposals(folder, "rpn", given, "rpn", {})
    assert not (folder / "proposals/rpn").exists()

    write_proposals(folder, "rpn", boxes(), "rpn", {})  # and the next attempt is not disturbed
    assert sorted(path.name for path in (folder / "proposals/rpn").iterdir()) == [
        "boxes-000000.npy",
        "boxes-000001.npy",
        "proposals.json",
    ]


def test_what_others_have_put_there_is_left_alone(folder):
    write_proposals(folder, "rpn", boxes(), "rpn", {})
    (folder / "proposals/rpn/thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds more than proposals .thesis.txt"):
        write_proposals(folder, "rpn", boxes(), "rpn", {}, overwrite=True)
    assert (folder / "proposals/rpn/thesis.txt").read_text() == "mine"
