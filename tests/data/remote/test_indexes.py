"""What lies beside remote shards: proposals, read through the same cache."""

import numpy as np
import pytest

from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.shard_module import ShardDataModule
from lit_detseg.data.shards import ShardReader
from lit_detseg.structures import UserError
from tests.data.proposals.sets import numbered_boxes, write_numbered_proposals
from tests.data.remote.conftest import IMAGES, QUICK
from tests.data.remote.servers import Nginx
from tests.data.remote.test_cache import wait_for

COUNTS = [3, 0, 1, 2, 5, 0, 4, 0, 0, 0, 0, 1]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A web server, and the folder with proposals that it serves."""
    folder = write_numbered_proposals(tmp_path_factory.mktemp("served") / "set", COUNTS)
    server = Nginx(folder.parent, tmp_path_factory.mktemp("nginx"))
    yield server, folder
    server.close()


@pytest.fixture
def reader(served, tmp_path):
    return ShardReader(f"{served[0].url}/set", ShardCache(tmp_path / "cache", retries=QUICK))


def test_remote_proposals_are_those_of_the_folder(served, reader, tmp_path):
    proposals = ProposalReader(reader, "numbered")
    for number, count in enumerate(COUNTS):
        np.testing.assert_array_equal(proposals.boxes(number), numbered_boxes(number, count))
    kept = {path.name for path in (tmp_path / "cache").iterdir()}
    assert {file.sha256 for file in proposals.files} <= kept
    assert proposals.remote_bytes(2) == sum(sorted(file.bytes for file in proposals.files)[-2:])


def test_each_file_of_boxes_is_fetched_once(served, reader):
    before = served[0].requests("boxes-000001.npy")
    proposals = ProposalReader(reader, "numbered")
    for _ in range(3):
        assert len(proposals.boxes(4)) == 5
    assert served[0].requests("boxes-000001.npy") == before + 1


def test_missing_remote_proposals_are_named_with_what_to_do(served, reader):
    with pytest.raises(UserError, match=r"'rpn' beside http.*404.*lit-detseg propose.*upload its"):
        ProposalReader(reader, "rpn")


def test_remote_proposals_of_other_shards_are_refused(served, tmp_path):
    server, folder = served
    other = write_numbered_proposals(folder.parent / "other", [1] * 4)
    (other / "proposals/numbered").rename(folder / "proposals/stale")
    reader = ShardReader(f"{server.url}/set", ShardCache(tmp_path / "cache", retries=QUICK))
    with pytest.raises(UserError, match="set/proposals/stale was computed for other shards"):
        ProposalReader(reader, "stale")


def test_proposals_are_fetched_ahead_with_their_shards(served, tmp_path):
    url, cache = f"{served[0].url}/set", tmp_path / "cache"
    module = ShardDataModule(
        val=url, proposals="numbered", num_workers=0, eval_batch_size=4, cache_dir=str(cache)
    )
    loader = module.val_dataloader()
    next(iter(loader))
    files = module.sets.proposals("val").files
    wait_for(lambda: all((cache / file.sha256).exists() for file in files))
    read = [
        len(rows)
        for batch in loader
        for rows in batch.proposals.boxes.split(batch.proposals.counts.tolist())
    ]
    module.teardown("fit")
    assert read == COUNTS
    assert len(COUNTS) == IMAGES
