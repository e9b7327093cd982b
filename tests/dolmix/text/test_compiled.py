"""Kernels: a change of any file that may be inlined is noticed; loading them loads little else."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
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


SUMS = """
from dolmix.text.compiled import kernel
@kernel
def total(values):
    found = 0
    for value in values:
        found += value
    return found
"""
FIRST = """
import sys
import numpy as np
from numba.core.registry import cpu_target
from sums import total
assert total(np.arange(4)) == 6
assert "scipy.linalg" not in sys.modules
print(len(cpu_target.typing_context._functions))
"""
PRODUCT = """
from numba import njit
@njit
def product(a):
    return a @ a
assert (product(np.eye(3) * 2) == np.eye(3) * 4).all()
import scipy.linalg
print(scipy.linalg.norm([3, 4]))
"""
ANOTHER = """
assert total(np.arange(4) / 2) == 3
assert len(cpu_target.typing_context._functions) > 100
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """Run a program that uses a kernel; the kernel is kept from one to the next."""
    (tmp_path / "sums.py").write_text(SUMS)
    about = {**environment(), "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    about["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"

    def run(text: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", text], env=about, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_kernels_load_without_scipy_and_leave_it_as_it_is(program: Callable[[str], str]) -> None:
    """Nothing of scipy's algebra loads with kernels; products of matrices compile all the same."""
    _, norm = program(FIRST + PRODUCT).split()
    assert float(norm) == 5


def test_a_kept_kernel_loads_without_what_compiling_needs(program: Callable[[str], str]) -> None:
    """The second process declares none of numba's functions, until it has to compile something."""
    assert int(program(FIRST)) > 100
    assert int(program(FIRST + ANOTHER)) == 0
