"""`kill -9` at random moments, again and again: no image is lost, and none is seen twice."""

import pytest

from tests.e2e.random_kills import BATCH, HERE, attempt, compare, kill_at_random

STEPS, STEPS_PER_EPOCH = 48, 5  # of 22 images


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory):
    result, taken = attempt(shards, tmp_path_factory.mktemp("undisturbed") / "run", STEPS)
    assert result.returncode == 0, result.stderr
    return taken


def test_an_undisturbed_run_sees_an_image_once_an_epoch(undisturbed):
    assert [line["step"] for line in undisturbed] == list(range(1, STEPS + 1))
    for first in range(0, STEPS, STEPS_PER_EPOCH):
        epoch = [
            image for line in undisturbed[first : first + STEPS_PER_EPOCH] for image in line["ids"]
        ]
        assert len(epoch) == len(set(epoch)) == min(STEPS_PER_EPOCH, STEPS - first) * BATCH


def test_a_run_that_was_killed_again_and_again_took_the_same_steps(shards, undisturbed, tmp_path):
    attempts = kill_at_random(shards, tmp_path / "run", STEPS, kills=4, seed=2)
    assert compare(attempts, undisturbed) > 0  # steps behind a checkpoint are taken again


def test_a_killed_loader_worker_is_one_error_and_the_run_goes_on(shards, undisturbed, tmp_path):
    killer = [f"--trainer.callbacks+={HERE}.KillAWorker", "--trainer.callbacks.step=7"]

    result, first = attempt(shards, tmp_path / "run", STEPS, *killer)
    assert result.returncode == 2
    assert "lit-detseg: DataLoader worker" in result.stderr
    assert "lower --data.num_workers" in result.stderr
    _, second = attempt(shards, tmp_path / "run", STEPS)

    assert len(first) >= 7
    compare([first, second], undisturbed)
