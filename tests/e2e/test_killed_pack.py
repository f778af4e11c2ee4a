"""`kill -9` in the middle of packing: nothing looks finished, and the next attempt starts clean."""

import os
import signal
import subprocess
import sys
import time

from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.shapes import ShapesReader
from tests.conftest import REPOSITORY

PACK_MANY = """
import sys
from pathlib import Path
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.shapes import ShapesReader
pack(ShapesReader(400, size=48), Path(sys.argv[1]), samples_per_shard=20)
"""


def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", PACK_MANY, str(out)], cwd=REPOSITORY)
    half_way = tmp_path / "out.packing/shard-000002.tar"
    while not half_way.exists() and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    assert not (tmp_path / "out.packing/index.json").exists()

    pack(ShapesReader(400, size=48), out, samples_per_shard=20)
    pack(ShapesReader(400, size=48), tmp_path / "undisturbed", samples_per_shard=20)

    assert contents(out) == contents(tmp_path / "undisturbed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "undisturbed"]


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
