"""Checkpoint files survive kills, full disks and damage."""

import multiprocessing
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from lit_detseg.errors import UserError
from lit_detseg.runs.checkpoints import (
    AtomicCheckpointIO,
    check_checkpoint,
    checksum_path,
    copy_checkpoint,
    load_checkpoint,
    newest_valid_checkpoint,
    numbered_checkpoints,
    remove_checkpoint,
    step_name,
    stored_label_map,
    write_checkpoint,
)
from lit_detseg.structures import LabelMap

STATE = {"global_step": 3, "state_dict": {"w": torch.arange(1000.0)}, "names": ["a", None, 1.5]}

WRITE_TOO_MUCH = """
import resource, sys, torch
from pathlib import Path
from lit_detseg.runs.checkpoints import write_checkpoint
path = Path(sys.argv[1]) / "step-00000001.ckpt"
write_checkpoint({"w": torch.zeros(10)}, path)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_checkpoint({"w": torch.zeros(100_000)}, path)
"""


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "checkpoints" / step_name(3)
    write_checkpoint(STATE, path)

    loaded = load_checkpoint(path)

    assert torch.equal(loaded["state_dict"]["w"], STATE["state_dict"]["w"])
    assert loaded["names"] == ["a", None, 1.5]
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.sha256"]


def test_the_classes_of_a_checkpoint_are_known_before_it_is_loaded(tmp_path):
    classes = LabelMap(("cat", "dog"), (17, 18))
    write_checkpoint({"lit_detseg": {"label_map": classes.to_json()}}, tmp_path / "with.ckpt")
    write_checkpoint(STATE, tmp_path / "without.ckpt")
    (tmp_path / "no.ckpt").write_bytes(b"no checkpoint")

    found = [stored_label_map(tmp_path / f"{name}.ckpt") for name in ("with", "without", "no")]

    assert found == [classes, None, None]


def test_sha256sum_can_check_it(tmp_path):
    write_checkpoint(STATE, tmp_path / step_name(3))
    checked = subprocess.run(
        ["sha256sum", "-c", f"{step_name(3)}.sha256"], cwd=tmp_path, capture_output=True, text=True
    )
    assert checked.stdout == "step-00000003.ckpt: OK\n"


def write_for_ever(folder: Path, first: int) -> None:
    """Each checkpoint is written twice, so that every second write replaces one."""
    for step in range(first, first + 10_000):
        state = {"step": step, "w": torch.zeros(500_000)}
        write_checkpoint(state, folder / step_name(step // 2))


def test_a_kill_at_any_moment_leaves_a_valid_checkpoint(tmp_path):
    chance = random.Random(0)
    write_checkpoint({"step": 1}, tmp_path / step_name(0))
    step = 1
    for _ in range(12):
        child = multiprocessing.get_context("fork").Process(
            target=write_for_ever, args=(tmp_path, step + 1)
        )
        child.start()
        time.sleep(chance.uniform(0.01, 0.1))
        child.kill()
        child.join()

        with warnings.catch_warnings(action="error"):  # none is found damaged and passed over
            newest = newest_valid_checkpoint(tmp_path)

        assert child.exitcode == -signal.SIGKILL
        assert load_checkpoint(newest)["step"] >= step
        step = load_checkpoint(newest)["step"]
    assert step > 12


def test_a_full_disk_is_an_error_and_leaves_the_old_checkpoint(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WRITE_TOO_MUCH, str(tmp_path)], capture_output=True, text=True
    )
    assert "OSError: [Errno 27] File too large" in done.stderr.splitlines()[-1]
    assert load_checkpoint(tmp_path / step_name(1))["w"].shape == (10,)
    assert len(list(tmp_path.iterdir())) == 2  # nothing half written


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut short":
        content = content[:-100]
    else:
        content[content.index(torch.arange(1000.0).numpy().tobytes()[:64]) + 9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("with_checksum", [True, False])
@pytest.mark.parametrize("how", ["cut short", "one bit flipped"])
def test_damage_is_found_and_the_one_before_is_named(how, with_checksum, tmp_path):
    for step in (1, 2, 3):
        write_checkpoint(STATE, tmp_path / step_name(step))
    newest = tmp_path / step_name(3)
    damage(newest, how)
    if not with_checksum:
        checksum_path(newest).unlink()

    with pytest.raises(UserError, match=f"damaged: .*Use the one before, .*{step_name(2)}"):
        load_checkpoint(newest)
    with pytest.warns(UserWarning, match="step-00000003.ckpt .* passed over"):
        assert newest_valid_checkpoint(tmp_path) == tmp_path / step_name(2)


def test_a_checkpoint_without_checksum_is_read(tmp_path):
    write_checkpoint(STATE, tmp_path / "mine.ckpt")
    checksum_path(tmp_path / "mine.ckpt").unlink()
    assert load_checkpoint(tmp_path / "mine.ckpt")["global_step"] == 3


def test_a_missing_checkpoint_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "no.ckpt")
    assert newest_valid_checkpoint(tmp_path / "nowhere") is None


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (9, 100_000_000, 10):
        (tmp_path / step_name(step)).touch()
    (tmp_path / "step-x.ckpt").touch()
    (tmp_path / "best.ckpt").touch()
    names = [path.name for path in numbered_checkpoints(tmp_path)]
    assert names == ["step-00000009.ckpt", "step-00000010.ckpt", "step-100000000.ckpt"]


def test_code_in_a_checkpoint_is_refused_both_ways(tmp_path):
    path = tmp_path / step_name(1)
    with pytest.raises(TypeError, match="would not load again"):
        write_checkpoint({"where": Path("/")}, path)
    assert list(tmp_path.iterdir()) == []

    torch.save({"where": Path("/")}, path)
    with pytest.raises(UserError, match="tensors and plain types only"):
        load_checkpoint(path)


def test_a_copy_outlives_its_source(tmp_path):
    write_checkpoint(STATE, tmp_path / step_name(1))
    copy_checkpoint(tmp_path / step_name(1), tmp_path / "best.ckpt")
    write_checkpoint({"global_step": 4}, tmp_path / step_name(1))
    remove_checkpoint(tmp_path / step_name(1))

    assert load_checkpoint(tmp_path / "best.ckpt")["global_step"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.ckpt", "best.ckpt.sha256"]


def test_the_plugin_verifies_and_distrusts(tmp_path):
    plugin = AtomicCheckpointIO()
    plugin.save_checkpoint(STATE, str(tmp_path / "a.ckpt"))
    check_checkpoint(tmp_path / "a.ckpt")
    assert plugin.load_checkpoint(tmp_path / "a.ckpt")["global_step"] == 3

    torch.save({"where": Path("/")}, tmp_path / "b.ckpt")
    with pytest.raises(UserError, match="plain types only"):
        plugin.load_checkpoint(tmp_path / "b.ckpt")
    trusted = plugin.load_checkpoint(tmp_path / "b.ckpt", weights_only=False)
    assert trusted == {"where": Path("/")}

    plugin.remove_checkpoint(tmp_path / "a.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["b.ckpt"]
