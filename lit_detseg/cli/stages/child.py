"""One process at a time, in the foreground, that hears the signals sent to this one."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

from lit_detseg.data.packing.workers import end_with_parent

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
ENDING = (signal.SIGTERM, signal.SIGINT)  # SIGUSR1 tells of a time limit: work goes on until then


class Foreground:
    """Runs processes, one after the other; signals go to the one that is running.

    A process ends with this one, even when this one is killed. It is in a process group of its own,
    so that Ctrl-C, which a terminal sends to a whole group, reaches it once.

    Attributes:
        stopped_by: the signal that asks this process to end, if one has come.
    """

    def __init__(self) -> None:
        self.stopped_by: signal.Signals | None = None
        self._child: subprocess.Popen | None = None
        self._early: list[int] = []  # came while a process was being started
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Foreground":
        for number in FORWARDED:
            self._before[number] = signal.signal(number, self._forward)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Start a process and wait for it.

        Args:
            command: the process.
            environment: variables to add to those of this process.

        Returns:
            Its exit code; 128 + the signal's number when a signal ended it, as in a shell.

        Raises:
            SystemExit: when this process was asked to end before.
        """
        if self.stopped_by is not None:
            raise SystemExit(128 + self.stopped_by)
        self._early.clear()
        self._child = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            process_group=0,
            preexec_fn=end_with_parent,  # no thread of ours could hold a lock while we fork
        )
        for number in self._early:
            self._child.send_signal(number)
        code = self._child.wait()
        self._child = None
        return code if code >= 0 else 128 - code

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if number in ENDING:
            self.stopped_by = signal.Signals(number)
        if self._child is None:
            self._early.append(number)
        else:
            self._child.send_signal(number)
