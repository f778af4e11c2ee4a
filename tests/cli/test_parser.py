"""Complaints of the parsers, as a user reads them."""

import pytest

from lit_detseg.cli.parser import ShortErrorParser, explain
from lit_detseg.errors import UserError

KEYS = ["trainer.max_steps", "trainer.max_epochs", "model", "data", "run.dir"]


@pytest.mark.parametrize(
    ("complaint", "expected"),
    [
        pytest.param(
            "unrecognized arguments: --trainer.max_step=3",
            "Did you mean `trainer.max_steps`?",
            id="a misspelt flag",
        ),
        pytest.param(
            "unrecognized arguments: --modl.backbone=x",
            "Did you mean `model.backbone`?",
            id="a misspelt section",
        ),
        pytest.param(
            "Option 'trainer.max_epoch' is not accepted",
            "Did you mean `trainer.max_epochs`?",
            id="a misspelt key in a file",
        ),
        pytest.param(
            "Option 'common.trainer.precision' is not accepted",
            "A recipe in stages is given with --stages FILE.",
            id="a stage file in place of a recipe",
        ),
        pytest.param(
            'Parser key "trainer.max_steps":\n  Does not validate against any of the Union '
            "subtypes\n  Subtypes: [<class 'int'>, <class 'NoneType'>]\n  Errors:\n"
            "    - Expected a <class 'int'>\n    - Expected a <class 'NoneType'>\n"
            "  Given value type: <class 'str'>\n  Given value: abc",
            "trainer.max_steps: Expected a int (given: abc)",
            id="a wrong type",
        ),
        pytest.param(
            "Parser key \"model\":\n  Problem with given class_path 'collections.Counter':\n"
            "    Option 'widht' is not accepted\n  Given value type: <class 'dict'>",
            "collections.Counter: Option 'widht' is not accepted",
            id="a key that the class does not have",
        ),
        pytest.param(
            'Parser key "model":\n'
            "  Problem with given class_path 'lit_detseg.modules.MaskRCNN':\n"
            "    Option 'warmup_step' is not accepted\n  Given value type: <class 'dict'>",
            "Did you mean `warmup_steps`?",
            id="a key that the class hands on",
        ),
    ],
)
def test_a_complaint_names_the_fault_and_the_nearest_word(complaint, expected):
    message = explain(complaint, KEYS, "lit-detseg fit")
    assert expected in message
    assert message.endswith("`lit-detseg fit --help` lists the options.")
    assert "Union" not in message
    assert "\n" not in message


def test_a_plain_parser_says_what_is_wrong_without_usage(capsys):
    parser = ShortErrorParser(prog="lit-detseg pack")
    parser.add_argument("--out", required=True)
    with pytest.raises(UserError, match="--out.*`lit-detseg pack --help`"):
        parser.parse_args([])
    assert capsys.readouterr().err == ""
