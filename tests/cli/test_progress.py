"""The bar of long work."""

import os
import pty
import subprocess
import sys

from lit_detseg.cli.progress import images_bar
from tests.conftest import REPOSITORY


def test_nothing_is_drawn_where_nobody_looks(capsys):
    with images_bar("Verifying") as progress:
        assert progress is None
    assert capsys.readouterr().err == ""


def test_a_terminal_sees_count_and_title():
    script = (
        "from lit_detseg.cli.progress import images_bar\n"
        "with images_bar('Verifying') as progress:\n"
        "    progress(3, 7)\n"
    )
    mine, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", script]
    subprocess.run(command, stderr=theirs, cwd=REPOSITORY, env=environment, check=True, timeout=60)
    os.close(theirs)
    drawn = os.read(mine, 10**5).decode()
    os.close(mine)
    assert "Verifying" in drawn
    assert "3/7" in drawn
