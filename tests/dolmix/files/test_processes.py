"""What a process gives back to the system."""

import sys
from pathlib import Path

import numpy as np
import pytest

from dolmix.files.processes import return_memory

PIECE = 1 << 16
"""Bytes: malloc keeps pieces of this size in its heap, and maps much larger ones by themselves."""


def resident() -> int:
    """Bytes of this process that are in memory and in no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_freed_memory_goes_back() -> None:
    """What lies free below memory in use, which malloc keeps, is the system's again."""
    pieces = [np.ones(PIECE, np.uint8) for _ in range(1000)]
    last = np.ones(PIECE, np.uint8)
    del pieces
    return_memory()
    before = resident()
    pieces = [np.ones(PIECE, np.uint8) for _ in range(1000)]
    above = np.ones(PIECE, np.uint8)
    held = resident() - before
    del pieces
    return_memory()
    assert held > 900 * PIECE
    assert resident() - before < held // 4
    assert last.all()
    assert above.all()
