"""A run from a web server: the same numbers as from the folder it serves."""

import pytest

from lit_detseg.runs.metrics_log import read_metrics
from tests.data.remote.servers import LOOPBACK, Nginx
from tests.e2e.commands import fit_arguments, run_command


@pytest.fixture
def served(shards, tmp_path):
    """The URL of the session's shard sets."""
    prefix = tmp_path / "nginx"
    prefix.mkdir()
    server = Nginx(shards, prefix)
    yield server
    server.close()


def test_two_ranks_train_and_evaluate_from_urls(shards, served, tmp_path):
    curves = {}
    for name, root in (("folder", shards), ("url", f"http://{LOOPBACK}:{served.port}")):
        sets = [f"--data.train={root}/train", f"--data.val={root}/val"]
        cache = [f"--data.cache_dir={tmp_path / 'cache'}", "--data.cache_gb=1"]
        run = tmp_path / name
        options = (*sets, *cache, "--trainer.devices=2", "--trainer.val_check_interval=4")
        run_command(*fit_arguments(shards, run, *options), NO_PROXY=LOOPBACK)
        curves[name] = read_metrics(run / "metrics.jsonl")

    for score in ("train/loss", "val/map", "val/map_50"):
        assert curves["url"][score] == curves["folder"][score]
    tars = served.requests(".tar")
    assert tars == 7, "5 training shards and 2 of validation, each fetched once for both ranks"
