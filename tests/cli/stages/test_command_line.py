"""Which options of `fit --stages` reach which stage."""

from pathlib import Path

import pytest

from lit_detseg.cli.main import main
from lit_detseg.cli.stages.command_line import parse_options
from lit_detseg.errors import UserError


def options_of(*arguments):
    options = parse_options(arguments)
    options.assign(["svm", "fine"])
    return options


def test_options_go_to_all_stages_or_to_the_one_they_name():
    options = options_of(
        *("--stages", "row.yaml", "-c", "gpu.yaml", "--run.dir=runs/x"),
        *("--trainer.max_steps", "2", "--svm.trainer.max_steps", "-1", "--fine.data.seed=3"),
    )
    assert options.file == Path("row.yaml")
    assert options.run == Path("runs/x")
    assert options.shared == ["-c", "gpu.yaml", "--trainer.max_steps", "2"]
    assert options.of_stage == {
        "svm": ["--trainer.max_steps", "-1"],
        "fine": ["--data.seed=3"],
    }


def test_the_run_is_named_after_the_file():
    assert options_of("--stages=rows/vgg.yaml").run == Path("runs/vgg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--stages"], "--stages needs a file", id="no file"),
        pytest.param(
            ["--stages=a", "--ckpt_path", "last"], "continued by itself", id="a checkpoint"
        ),
        pytest.param(["--stages=a", "--run.start_from=x"], "Say in the stage file", id="a start"),
    ],
)
def test_what_stages_decide_on_is_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        parse_options(arguments)


def test_help_shows_a_stage_file(capsys):
    main(["fit", "--stages", "--help"])
    printed = capsys.readouterr().out
    assert "lit-detseg fit --stages FILE" in printed
    assert "start_from: {stage: rpn, parts: backbone}" in printed
