"""Boxes of one set and of several, by the number of the image."""

import numpy as np
import pytest

from lit_detseg.data.packing.pack import pack
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.errors import UserError
from tests.data.proposals.sets import numbered_boxes, reader_of, write_numbered_proposals
from tests.data.shard_sets import ListReader, raw_sample

COUNTS = [3, 0, 1, 2, 5, 0, 4]


@pytest.fixture
def folder(tmp_path):
    return write_numbered_proposals(tmp_path / "set", COUNTS)


def test_several_sets_bring_their_own(folder, tmp_path):
    other = write_numbered_proposals(tmp_path / "other", [2, 0, 3, 1, 1], prefix="b", first=50)
    proposals = ProposalReader(reader_of(other, folder), "numbered")
    assert proposals.counts.tolist() == [2, 0, 3, 1, 1, *COUNTS]
    for number, count in enumerate(proposals.counts.tolist()):
        expected = numbered_boxes(50 + number if number < 5 else number - 5, count)
        np.testing.assert_array_equal(proposals.boxes(number), expected)


def test_the_first_so_many_are_read(folder):
    proposals = ProposalReader(reader_of(folder), "numbered", max_proposals=2)
    assert proposals.counts.tolist() == [2, 0, 1, 2, 2, 0, 2]
    np.testing.assert_array_equal(proposals.boxes(4), numbered_boxes(4, 5)[:2])
    with pytest.raises(UserError, match="max_proposals = 0 must be at least 1"):
        ProposalReader(reader_of(folder), "numbered", max_proposals=0)


def test_a_missing_name_lists_what_is_there_and_what_computes_it(folder):
    with pytest.raises(UserError) as error:
        ProposalReader(reader_of(folder), "selective_search")
    assert "no proposals 'selective_search' beside" in str(error.value)
    assert "(there: numbered)" in str(error.value)
    assert f"`lit-detseg propose {folder} --method selective_search`" in str(error.value)


def test_proposals_of_shards_that_were_packed_again_are_refused(folder):
    (folder / "proposals").rename(folder.parent / "kept")
    again = [raw_sample(f"{n:04d}", np.zeros((8, 8, 3), np.uint8)) for n in range(7)]
    pack(ListReader(again), folder, samples_per_shard=4, overwrite=True)
    (folder.parent / "kept").rename(folder / "proposals")
    with pytest.raises(UserError, match="numbered was computed for other shards.*packed again"):
        ProposalReader(reader_of(folder), "numbered")


def test_packing_again_does_not_delete_proposals(folder):
    with pytest.raises(UserError, match=r"holds more than shards .proposals., and would be"):
        pack(ListReader([]), folder, overwrite=True)
    assert (folder / "proposals/numbered/proposals.json").is_file()


def test_a_file_that_was_cut_is_named(folder):
    path = folder / "proposals/numbered/boxes-000000.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"boxes-000000.npy has \d+ bytes, the index says"):
        ProposalReader(reader_of(folder), "numbered").boxes(0)
    path.unlink()
    with pytest.raises(UserError, match=r"boxes-000000.npy cannot be opened"):
        ProposalReader(reader_of(folder), "numbered").boxes(0)


def test_boxes_that_were_damaged_are_named(folder):
    path = folder / "proposals/numbered/boxes-000001.npy"
    data = bytearray(path.read_bytes())
    data[-4:] = b"\xff\xff\xff\xff"  # the last side of the last box
    path.write_bytes(data)
    proposals = ProposalReader(reader_of(folder), "numbered")
    assert len(proposals.boxes(4)) == 5
    with pytest.raises(UserError, match=r"boxes-000001.npy, image 0006: box 3 of 4 .*nan"):
        proposals.boxes(6)
