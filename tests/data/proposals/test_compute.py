"""Computed once, in parallel, and again from where it ended."""

import shutil

import numpy as np
import pytest

from lit_detseg.data.proposals import compute as module
from lit_detseg.data.proposals.compute import compute_proposals, read_cost
from lit_detseg.data.proposals.grid import Grid
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.proposals.selective_search import SelectiveSearch
from lit_detseg.errors import UserError
from tests.data.proposals.sets import contents, reader_of
from tests.data.shard_sets import write_shapes

IMAGES = 11  # in shards of four


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("packed") / "set", IMAGES)


@pytest.fixture
def folder(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "set")


class Failing(Grid):
    """Ends in the middle of the set."""

    def __call__(self, image):
        if next(self.until) == 6:
            raise KeyboardInterrupt
        return super().__call__(image)


def test_every_image_gets_the_boxes_that_the_method_proposes(folder):
    method, done = SelectiveSearch(width=48, min_side=5), []

    index = compute_proposals(folder, method, "search", progress=lambda *now: done.append(now))

    reader = reader_of(folder)
    proposals = ProposalReader(reader, "search")
    for number in range(IMAGES):
        np.testing.assert_array_equal(proposals.boxes(number), method(reader.image(number)))
    assert (index.method, index.options) == ("selective_search", method.options)
    assert done == [(n, IMAGES) for n in range(1, IMAGES + 1)]
    cost = read_cost(folder / "proposals/search")
    assert cost["images"] == IMAGES
    assert 0 < cost["cpu_seconds"] < 60
    assert cost["cpu_seconds_per_image"] == pytest.approx(cost["cpu_seconds"] / IMAGES, abs=1e-3)
    assert read_cost(folder) is None


def test_any_number_of_workers_writes_the_same_bytes(folder):
    method = SelectiveSearch(width=48, min_side=5)
    for workers in (0, 1, 2):
        compute_proposals(folder, method, f"by_{workers}", workers=workers)
    first, *others = (contents(folder / f"proposals/by_{workers}") for workers in (0, 1, 2))
    assert others == [first, first]
    with pytest.raises(UserError, match="--workers -1"):
        compute_proposals(folder, method, "none", workers=-1)


def test_an_attempt_that_was_cut_short_is_continued(folder):
    compute_proposals(folder, Grid(), "whole")
    Failing.until, said, computed = iter(range(99)), [], []
    with pytest.raises(KeyboardInterrupt):
        compute_proposals(folder, Failing(), "cut")
    assert not (folder / "proposals/cut").exists()

    class Counting(Grid):
        def __call__(self, image):
            computed.append(image)
            return super().__call__(image)

    compute_proposals(folder, Counting(), "cut", say=said.append)

    assert len(computed) == IMAGES - 4  # the first four were finished
    assert "1 of 3 parts are there" in said[0]
    assert contents(folder / "proposals/cut") == contents(folder / "proposals/whole")
    assert sorted(path.name for path in (folder / "proposals").iterdir()) == ["cut", "whole"]


@pytest.mark.parametrize("damage", ["cut", "of other options", "of other content"])
def test_parts_that_cannot_be_used_are_computed_again(folder, damage):
    compute_proposals(folder, Grid(), "whole")
    Failing.until = iter(range(99))
    with pytest.raises(KeyboardInterrupt):
        compute_proposals(folder, Failing(3 if damage == "of other options" else 5), "cut")
    part = folder / "proposals/cut.computing/notes/part-00000000.npz"
    data = bytearray(part.read_bytes())
    if damage == "cut":
        del data[-100:]
    elif damage == "of other content":
        data[len(data) // 2] ^= 1
    part.write_bytes(data)

    compute_proposals(folder, Grid(), "cut")

    assert contents(folder / "proposals/cut") == contents(folder / "proposals/whole")


def test_what_is_there_is_not_computed_again(folder):
    compute_proposals(folder, Grid(), "grid")
    before, said = contents(folder, without=()), []
    index = compute_proposals(folder, Grid(), "grid", say=said.append)
    assert contents(folder, without=()) == before
    assert index.counts.min() > 0
    assert "is there already" in said[0]


def test_other_options_need_another_name_or_leave_to_replace(folder):
    compute_proposals(folder, Grid(), "grid")
    with pytest.raises(UserError, match=r"levels = 5 there, 2 here.*--name, or --overwrite"):
        compute_proposals(folder, Grid(2), "grid")
    with pytest.raises(UserError, match=r"method = grid there, selective_search here\)"):
        compute_proposals(folder, SelectiveSearch(), "grid")
    assert compute_proposals(folder, Grid(2), "grid", overwrite=True).options == {"levels": 2}


def test_proposals_of_other_shards_are_not_taken_for_these(folder, tmp_path):
    other = write_shapes(tmp_path / "other", IMAGES + 1)
    compute_proposals(other, Grid(), "grid")
    shutil.copytree(other / "proposals", folder / "proposals")
    with pytest.raises(UserError, match="grid was computed for other shards"):
        compute_proposals(folder, Grid(), "grid")
    compute_proposals(folder, Grid(), "grid", overwrite=True)
    assert len(ProposalReader(reader_of(folder), "grid").counts) == IMAGES


def test_a_folder_that_cannot_be_written_to_is_named(folder):
    (folder / "proposals").write_text("in the way")
    with pytest.raises(UserError, match="proposals cannot be made .*stored beside the shards"):
        compute_proposals(folder, Grid(), "grid")


def test_opencv_has_its_threads_back_afterwards(folder):
    before = module.cv2.getNumThreads()
    compute_proposals(folder, Grid(), "grid")
    assert module.cv2.getNumThreads() == before
