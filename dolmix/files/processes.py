"""Processes of this machine: this one, and others."""

import ctypes
import os
import signal
import sys
from functools import cache

PR_SET_PDEATHSIG = 1


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number; one that nobody has waited for counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the process that forked it dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def return_memory() -> None:
    """Give the operating system back what this process has freed: Arrow's pool, and malloc's heap.

    A few milliseconds, and as much again where the memory is used again: for when work of another
    kind begins, whose buffers are of other sizes.
    """
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # the GNU C library's
    if trim is not None:
        trim(0)


@cache
def tie_children() -> None:
    """Make every process that this one forks from now on die with it."""
    os.register_at_fork(after_in_child=die_with_parent)
