"""The newcomer's first command, shortened to a few steps."""

import re

from tests.e2e.commands import run_command


def test_the_demo_ends_with_its_score_alone(tmp_path):
    options = ("--trainer.max_steps=4", "--trainer.val_check_interval=4")
    small = ("--images", "24", "--out", tmp_path / "demo")
    first = run_command("demo", *small, *options, WANDB_MODE="offline")
    assert re.fullmatch(r"AP50 [01]\.\d{3}", first.stdout.splitlines()[-1])
    pictures = {path.name for path in (tmp_path / "demo/run1/pictures").iterdir()}
    assert pictures == {"step-00000004.png", "validate.png"}
    assert "map_50" in first.stdout

    second = run_command("demo", *small, *options, WANDB_MODE="offline")
    assert (tmp_path / "demo/run2/checkpoints/best.ckpt").is_file()
    assert second.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
