"""The first word of the command line."""

import subprocess
import sys

import pytest

from lit_detseg import __version__
from lit_detseg.cli.main import WORDS, main


def test_the_overview_names_every_word(capsys):
    main(["--help"])
    printed = capsys.readouterr().out
    assert all(word in printed for word in WORDS)


def test_the_version_is_printed(capsys):
    main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("word", [[], ["pack"], ["index"], ["verify"], ["plan"]])
def test_help_and_the_words_before_training_import_nothing_heavy(word):
    script = (
        "import sys; from lit_detseg.cli.main import main\n"
        f"try: main({[*word, '--help']})\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules or 'lightning' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert printed.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    "word", ["pack", "index", "verify", "browse", "plan", "evaluate", "bench", "demo"]
)
def test_every_word_explains_itself(word, capsys):
    with pytest.raises(SystemExit) as caught:
        main([word, "--help"])
    assert caught.value.code == 0
    assert f"lit-detseg {word}" in capsys.readouterr().out
