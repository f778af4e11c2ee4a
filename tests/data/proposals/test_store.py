"""The index of proposals: what it says, and what it refuses."""

import json

import numpy as np
import pytest

from lit_detseg.data.index import Shard
from lit_detseg.data.proposals.store import (
    ProposalIndex,
    proposal_names,
    proposals_folder,
    what_is_wrong,
)
from lit_detseg.errors import UserError

FILES = (Shard("boxes-000000.npy", 2, 128 + 16 * 3, "aa"), Shard("boxes-000001.npy", 1, 128, "bb"))
INDEX = ProposalIndex("ab" * 32, "grid", {"levels": 5}, {"opencv": "5"}, FILES, np.array([1, 2, 0]))


def changed(**fields):
    return json.dumps({**INDEX.to_json(), **fields}).encode()


def test_an_index_is_read_as_it_was_written():
    read = ProposalIndex.parse(INDEX.to_bytes(), "index")
    assert read.to_json() == INDEX.to_json()
    assert read.sha256() == INDEX.sha256()
    assert read.counts.dtype == np.int64
    assert read.boxes_per_file().tolist() == [3, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"{", "JSONDecodeError", id="cut short"),
        pytest.param(b"[1]", "TypeError", id="a list"),
        pytest.param(b'{"format": "\xff"}', "UnicodeDecodeError", id="no text"),
        pytest.param(changed(format=7), "it has format 7, not 1", id="of another format"),
        pytest.param(b'{"format": 1}', "KeyError: 'shards_sha256'", id="incomplete"),
        pytest.param(changed(counts=[1, 2]), "boxes on 2 images", id="fewer images"),
        pytest.param(changed(counts=[1, -2, 0]), "more boxes than its files", id="negative"),
        pytest.param(changed(counts=[1, 20, 0]), "more boxes than its files", id="more boxes"),
        pytest.param(changed(counts=["x", 2, 0]), "ValueError", id="no numbers"),
    ],
)
def test_a_damaged_index_is_named_with_the_reason(data, reason):
    with pytest.raises(UserError, match=rf"set/proposals.json is not an .*{reason}.*--overwrite"):
        ProposalIndex.parse(data, "set/proposals.json")


def test_proposals_of_other_shards_are_refused():
    INDEX.check_fits("ab" * 32, (2, 1), "set/proposals/grid")
    with pytest.raises(UserError, match="grid was computed for other shards .index abab.*now cdcd"):
        INDEX.check_fits("cd" * 32, (2, 1), "set/proposals/grid")
    with pytest.raises(UserError, match="other numbers of images in its files"):
        INDEX.check_fits("ab" * 32, (1, 2), "set/proposals/grid")


@pytest.mark.parametrize("name", ["", "a/b", "..", "grid.computing", "-x", "größe"])
def test_a_name_is_letters_and_digits(tmp_path, name):
    with pytest.raises(UserError, match="cannot be a name of proposals"):
        proposals_folder(tmp_path, name)
    assert proposals_folder(tmp_path, "rpn_2-b") == tmp_path / "proposals/rpn_2-b"


def test_unfinished_proposals_have_no_name(tmp_path):
    assert proposal_names(tmp_path) == []
    for name in ("b", "a", "c.computing", "empty"):
        (tmp_path / "proposals" / name).mkdir(parents=True)
        if name != "empty":
            (tmp_path / "proposals" / name / "proposals.json").write_text("{}")
    assert proposal_names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize(
    ("boxes", "wrong"),
    [
        pytest.param([[0, 0, 20, 10]], None, id="the whole image"),
        pytest.param([[-0.4, 0, 20.9, 10]], None, id="a little over the border"),
        pytest.param([[0, 0, 5, 5], [0, 0, 21.5, 5]], "box 1 of 2", id="outside"),
        pytest.param([[-2, 0, 5, 5]], "box 0 of 1", id="left of it"),
        pytest.param([[5, 0, 5, 5]], "box 0 of 1", id="no width"),
        pytest.param([[0, 6, 5, 5]], "box 0 of 1", id="upside down"),
        pytest.param([[0, 0, np.nan, 5]], "box 0 of 1", id="not a number"),
        pytest.param([[0, 0, np.inf, 5]], "box 0 of 1", id="infinite"),
        pytest.param([0, 0, 5, 5], r"shape \(4,\)", id="flat"),
    ],
)
def test_boxes_that_cannot_be_proposals_are_named(boxes, wrong):
    said = what_is_wrong(np.array(boxes, dtype=np.float32), height=10, width=20)
    if wrong is None:
        assert said is None
    else:
        with pytest.raises(ValueError, match=wrong):
            raise ValueError(said)
    assert what_is_wrong(np.zeros((0, 4)), 10, 20) is None
