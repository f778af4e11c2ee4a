"""Proposals beside a set: stale, damaged, missing."""

import shutil

import pytest

from lit_detseg.data.verification.verify import verify
from tests.data.proposals.sets import write_numbered_proposals
from tests.data.verification.crafted import findings, found_in

FILE = "proposals/numbered/boxes-000000.npy"


@pytest.fixture
def folder(tmp_path):
    return write_numbered_proposals(tmp_path / "set", [3, 0, 1, 2, 5])


def test_good_proposals_have_no_finding(folder):
    (folder / "proposals/other.computing").mkdir()  # being made
    assert findings(folder) == []


def test_a_changed_file_is_found(folder):
    data = bytearray((folder / FILE).read_bytes())
    data[-1] ^= 1
    (folder / FILE).write_bytes(data)
    assert findings(folder) == [("wrong_checksum", FILE, "", "")]
    (folder / FILE).write_bytes(data[:-1])
    assert findings(folder) == [("wrong_file_size", FILE, "", "")]
    (folder / FILE).unlink()
    assert findings(folder) == [("missing_file", FILE, "", "")]


def test_a_damaged_index_is_found(folder):
    (folder / "proposals/numbered/proposals.json").write_text("{")
    assert findings(folder) == [("unreadable_proposals", "proposals/numbered", "", "")]


def test_proposals_of_other_shards_are_a_warning(folder, tmp_path):
    other = write_numbered_proposals(tmp_path / "other", [1, 1])
    shutil.rmtree(folder / "proposals")
    shutil.copytree(other / "proposals", folder / "proposals")
    report = verify([folder], workers=0)
    assert found_in(report) == [("stale_proposals", "proposals/numbered", "", "")]
    assert report.is_clean
