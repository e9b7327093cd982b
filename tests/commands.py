"""The command line as tests call it: `dolmix` in this interpreter, from the working tree."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
Dolmix = Callable[..., subprocess.CompletedProcess[str]]


def command(*arguments: str | Path) -> list[str]:
    """Command line of `dolmix ...` in this interpreter."""
    return [sys.executable, "-m", "dolmix", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Environment in which the working tree is the package that runs."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}
