"""What a process that starts others asks of the system."""

import ctypes
import signal

PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


def end_with_parent() -> None:
    """Let the system kill this process when the one that started it ends, however that ends.

    To be called in the new process. Does nothing where the system is not Linux.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
