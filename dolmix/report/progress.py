"""How far long work is, on stderr: one line that changes on a terminal, else one each 30 s."""

import sys
import time

LIVE_EVERY_S = 0.5
LINE_EVERY_S = 30.0


class Progress:
    """Says what is read, and how many documents so far. Safe to tell from several threads."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Say nothing where `quiet`."""
        self._quiet, self._live = quiet, sys.stderr.isatty()
        self._what, self._documents, self._written = "", 0, False
        self._started = self._said = time.monotonic()

    def begin(self, what: str) -> None:
        """Begin something else."""
        self._what, self._documents = what, 0
        self._started = time.monotonic()

    def add(self, documents: int) -> None:
        """Tell that so many more documents were read."""
        self._documents += documents
        now = time.monotonic()
        if not self._quiet and now - self._said > (LIVE_EVERY_S if self._live else LINE_EVERY_S):
            self._said = now
            spent = f"{now - self._started:,.0f} s"
            self._write(f"{self._what}: {self._documents:,} documents, {spent}")

    def end(self) -> None:
        """Leave a clean line."""
        if self._written and self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _write(self, line: str) -> None:
        self._written = True
        sys.stderr.write(f"\r\x1b[K{line}" if self._live else f"{line}\n")
        sys.stderr.flush()
