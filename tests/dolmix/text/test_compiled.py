"""Kernels: a change of any file whose code may be inlined is noticed; scipy is left alone."""

import os
import subprocess
import sys
from pathlib import Path

from commands import environment

from dolmix.text.compiled import _stamp


def test_stamp_follows_the_files_of_both_packages(tmp_path: Path) -> None:
    """A file that comes, grows or is touched in the kernel's own folder gives another stamp."""
    stamps = [_stamp.__wrapped__(tmp_path)]
    module = tmp_path / "kernels.py"
    module.write_text("one = 1\n")
    for change in (lambda: None, lambda: module.write_text("one = 1\ntwo = 2\n")):
        change()
        stamps.append(_stamp.__wrapped__(tmp_path))
    os.utime(module, (2e9, 2e9))
    stamps.append(_stamp.__wrapped__(tmp_path))
    assert len(set(stamps)) == len(stamps)


def test_stamp_of_the_splitters_does_not_count_files_twice() -> None:
    """For a kernel of `dolmix.text` itself the two folders are one."""
    here = Path(_stamp.__wrapped__.__code__.co_filename).parent
    sizes = sum(path.stat().st_size for path in here.glob("*.py"))
    assert _stamp.__wrapped__(here)[1] == sizes


KERNEL = """
import sys
import numpy as np
from dolmix.document import TextBatch
from dolmix.text.hashes import text_hashes
text_hashes(TextBatch.of(["a", "b"]))
assert "scipy.linalg" not in sys.modules
from numba import njit
@njit
def product(a):
    return a @ a
assert (product(np.eye(3) * 2) == np.eye(3) * 4).all()
import scipy.linalg
assert scipy.linalg.norm([3, 4]) == 5
"""


def test_kernels_load_without_scipy_and_leave_it_as_it_is() -> None:
    """Nothing of scipy's algebra loads with kernels; products of matrices compile all the same."""
    done = subprocess.run(
        [sys.executable, "-c", KERNEL],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
