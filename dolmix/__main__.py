"""The `dolmix` command, also as `python -m dolmix`: a run's workers load while it is understood."""

import gc
import sys

from dolmix.pipeline.ahead import start_for_command

COLLECT_EVERY = 100_000
"""Objects made between two looks for garbage: loading makes some 300,000, and none is garbage."""


def main() -> None:
    """Console script entry."""
    gc.set_threshold(COLLECT_EVERY)
    start_for_command(sys.argv[1:])
    try:
        from dolmix.cli.main import run_main  # Typer, and all commands

        run_main()
    finally:
        gc.freeze()  # the process ends, and looking for garbage once more would take 0.1 s


if __name__ == "__main__":
    main()
