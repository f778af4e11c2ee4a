"""The benchmark runs and compares like with like; what it measures is not a matter for tests."""

from lit_detseg.bench.train import measure_trainer_overhead


def test_both_loops_are_timed(shards, tmp_path):
    overhead = measure_trainer_overhead(shards / "train", tmp_path, steps=2, rounds=1)
    assert overhead.bare_loop > 0
    assert overhead.trainer > 0
    assert overhead.to_json()["ratio"] == overhead.trainer / overhead.bare_loop
