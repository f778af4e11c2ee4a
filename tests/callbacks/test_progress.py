"""What a person sees: a bar on a terminal, lines in a file."""

import re

import pytest

from lit_detseg.callbacks.progress import RunProgress
from tests.callbacks.tiny import TinyModule, tiny_trainer


def test_a_log_file_gets_lines(tmp_path, capsys):
    trainer = tiny_trainer(tmp_path, RunProgress(seconds=0.0))  # standard output is captured
    trainer.fit(TinyModule(batches=4, scores=[0.25, 0.5]))

    lines = capsys.readouterr().out.splitlines()

    training = [line for line in lines if line.startswith("epoch")]
    pattern = r"epoch 2/2  step 5/8  train/loss \d+\.\d{4}  images/s \d+\.\d  left 0:00:\d\d"
    assert len(training) == 8
    assert re.fullmatch(pattern, training[4])
    assert "validation  batch 1/2" in lines
    assert "validation at step 8  val/map 0.5000" in lines
    assert not re.search(r"[\x1b\r]", "".join(lines))


def test_lines_come_at_the_start_and_then_now_and_then(tmp_path, capsys):
    trainer = tiny_trainer(tmp_path, RunProgress(seconds=1000.0))
    trainer.fit(TinyModule(scores=[0.25, 0.5]))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "epoch 1/2",
        "validation at step 4",
        "validation at step 8",
    ]


def test_scores_of_single_classes_are_left_to_the_dashboards(tmp_path, capsys):
    class PerClass(TinyModule):
        def on_validation_epoch_end(self):
            self.log_dict({"val/map": 0.5, "val/map_circle": 0.25, "val/map_50": 0.75})

    tiny_trainer(tmp_path, RunProgress(seconds=1000.0), max_epochs=1).fit(PerClass())

    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "validation at step 4  val/map 0.5000  val/map_50 0.7500"


@pytest.mark.filterwarnings("ignore:.*TERM.*")
def test_a_terminal_gets_bars(tmp_path, capsys):
    progress = RunProgress(lines=False)
    tiny_trainer(tmp_path, progress).fit(TinyModule())
    out = capsys.readouterr().out
    assert "Epoch 1/2" in out
    assert "Epoch 2/2" in out
    assert "images/s" in out
    assert "4/4" in out
