"""The sets of each split: opened once, through the cache where they have to be, refused early."""

import socket
import time
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest
from torch import distributed
from torch.multiprocessing.spawn import spawn

from lit_detseg.data.order import EvaluationOrder, TrainingOrder
from lit_detseg.data.shard_sets import shard_cache, shard_sets
from lit_detseg.structures import LabelMap, UserError
from tests.data.shard_sets import raw_sample, write_numbered, write_shards

IMAGES = 12


@pytest.fixture
def folder(tmp_path):
    """Three shards of four images."""
    return str(write_numbered(tmp_path / "set", IMAGES))


def through_cache(folder, tmp_path, **options):
    options = {"cache_dir": str(tmp_path / "cache"), "cache_local": True, **options}
    return shard_sets({"train": folder, "val": [folder], "test": None, "predict": None}, **options)


def test_folders_need_no_cache(folder):
    assert shard_cache([folder]) is None
    sets = shard_sets({"train": folder, "val": None, "test": None, "predict": None})
    order = EvaluationOrder(IMAGES, 4)
    assert sets.fetched_ahead("train", order, None, 0) is order
    sets.require_room("train", 16)  # however large


def test_a_set_is_opened_once(folder):
    sets = shard_sets({"train": folder, "val": None, "test": None, "predict": None})
    assert sets.reader("train") is sets.reader("train")


def test_a_split_without_shards_is_the_user_s_mistake(folder):
    sets = shard_sets({"train": folder, "val": None, "test": None, "predict": None})
    with pytest.raises(UserError, match="No val shards were given. Set `--data.val=FOLDER`"):
        sets.reader("val")
    with pytest.raises(UserError, match="No shards were given. Set data.test"):
        sets.label_map("test")


def test_the_classes_are_those_of_the_word_s_own_sets(folder, tmp_path):
    image = raw_sample("one", np.zeros((8, 8, 3), np.uint8))
    cows = str(write_shards(tmp_path / "cows", [image], label_map=LabelMap(("cow",))))
    sets = shard_sets({"train": folder, "val": folder, "test": cows, "predict": None})

    assert sets.label_map("fit").names == ("cat", "dog")
    assert sets.label_map("test").names == ("cow",)
    with pytest.raises(UserError, match="data.train and data.test have different classes: 2 .*cow"):
        sets.label_map(None)


def test_a_cache_that_holds_no_two_windows_is_refused_with_the_numbers(folder, tmp_path):
    sets = through_cache(folder, tmp_path, cache_gb=2e-5)  # a shard takes 10,240 bytes
    with pytest.raises(UserError, match=r"The largest 2 x 1 shards of data.train take .*cache_gb"):
        sets.require_room("train", shuffle_window=1)
    through_cache(folder, tmp_path, cache_gb=2.1e-5).require_room("train", shuffle_window=1)


def test_a_cache_of_no_size_is_refused(folder):
    with pytest.raises(UserError, match="cache_gb = 0 must be above 0"):
        shard_cache([folder], cache_gb=0)


def test_what_is_fetched_ahead_is_read_in_the_same_order(folder, tmp_path):
    sets = through_cache(folder, tmp_path)
    order = TrainingOrder(sets.reader("train").shard_lengths, batch=4, shuffle_window=1)
    try:
        followed = sets.fetched_ahead("train", order, None, read_ahead=2)
        assert followed.steps == order.steps
        for step in range(5):
            assert followed.slots(step).samples.tolist() == order.slots(step).samples.tolist()
        cached, deadline = tmp_path / "cache", time.monotonic() + 60
        while len(list(cached.glob("*.ok"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(list(cached.glob("*.ok"))) == 3  # though nothing was read
    finally:
        sets.close()


def test_only_one_rank_of_a_node_fetches_ahead(folder, tmp_path):
    sets = through_cache(folder, tmp_path)
    order = EvaluationOrder(IMAGES, 4)
    second = SimpleNamespace(local_rank=1, global_rank=1, num_devices=2, world_size=2)
    assert sets.fetched_ahead("val", order, second, 0) is order


def check_agreement(rank, folders, port, results):
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    sets = shard_sets({"train": folders[rank], "val": None, "test": None, "predict": None})
    try:
        sets.require_agreement("fit")
        results.put("agreed")
    except UserError as error:
        results.put(str(error))
    distributed.destroy_process_group()


@pytest.mark.parametrize("images", [12, 11], ids=["the same set", "another set"])
def test_ranks_that_see_different_sets_are_all_told(folder, images, tmp_path):
    folders = [folder, str(write_numbered(tmp_path / "other", images))]
    results = get_context("spawn").Queue()
    port = free_port()
    spawn(check_agreement, (folders, port, results), nprocs=2)

    said = [results.get(timeout=30) for _ in range(2)]

    if images == 12:
        assert said == ["agreed", "agreed"]
    else:
        assert all("have read different indexes of data.train" in text for text in said)


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
