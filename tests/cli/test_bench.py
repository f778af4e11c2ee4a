"""`lit-detseg bench`: what cannot be measured is said in one sentence."""

import pytest

from lit_detseg.cli.bench import main
from lit_detseg.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "--images", "3"], "at least 4 images"),
        (["data", "--workers", "0"], "1 worker"),
        (["data", "--rounds", "-1"], "1 round"),
        (["train", "--steps", "0"], "at least 1 of each"),
        (["nothing"], "invalid choice: 'nothing'"),
        ([], "are required: train|data|"),
    ],
)
def test_impossible_options_are_named(arguments, message):
    with pytest.raises(UserError) as error:
        main(arguments)
    assert message in str(error.value)


def test_each_measurement_explains_its_options(capsys):
    for word, option in [("train", "--steps"), ("data", "--images")]:
        with pytest.raises(SystemExit):
            main([word, "--help"])
        assert option in capsys.readouterr().out
