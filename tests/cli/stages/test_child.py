"""A process in the foreground: signals reach it, its end is told, it ends with its parent."""

import signal
import subprocess
import sys
import time

import pytest

from lit_detseg.cli.stages.child import Foreground

SAYS_SIGNAL = """
import signal, sys, time
def note(number, frame):
    sys.exit(100 + number)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, note)
print("ready", flush=True)
time.sleep(60)
"""
RUNNER = """
import sys
from lit_detseg.cli.stages.child import Foreground
with Foreground() as foreground:
    code = foreground.run([sys.executable, "-c", sys.argv[1]], {})
    print(code, foreground.stopped_by and foreground.stopped_by.name, flush=True)
"""


def start(script):
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, script], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("number", "stopped_by"),
    [
        pytest.param(signal.SIGTERM, "SIGTERM", id="SIGTERM ends the sequence"),
        pytest.param(signal.SIGINT, "SIGINT", id="SIGINT ends the sequence"),
        pytest.param(signal.SIGUSR1, "None", id="SIGUSR1 is handed on"),
    ],
)
def test_a_signal_reaches_the_process(number, stopped_by):
    runner = start(SAYS_SIGNAL)
    assert runner.stdout.readline() == "ready\n"
    runner.send_signal(number)
    printed, _ = runner.communicate(timeout=30)
    assert printed.split() == [str(100 + number), stopped_by]


def test_exit_codes_are_those_of_a_shell():
    with Foreground() as foreground:
        codes = [
            foreground.run([sys.executable, "-c", script], {"CODE": "3"})
            for script in (
                "import os; raise SystemExit(int(os.environ['CODE']))",
                "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            )
        ]
    assert codes == [3, 128 + 9]


def test_the_process_ends_with_a_parent_that_is_killed():
    runner = start("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    child = int(runner.stdout.readline())
    runner.kill()
    runner.wait()
    deadline = time.monotonic() + 30
    while is_alive(child):
        assert time.monotonic() < deadline, "it outlived its parent"
        time.sleep(0.05)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Foreground():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
