"""Log lines on stderr; on a terminal the progress line stays in place and is written anew.

A record that only passes (`extra={"passing": True}`) replaces the one before it there; any other
stands. Off a terminal every record is a line.
"""

import logging
import sys
from shutil import get_terminal_size
from typing import TextIO

CLEAR_LINE = "\r\x1b[2K"


class Console(logging.Handler):
    """Writes records to a stream, stderr by default."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream
        self._passing = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a progress line stays the last one of a terminal."""
        stream = self._stream or sys.stderr
        text = self.format(record)
        try:
            if not stream.isatty():
                stream.write(text + "\n")
            elif getattr(record, "passing", False):
                self._passing = text[: get_terminal_size().columns - 1]  # what wraps stays behind
                stream.write(CLEAR_LINE + self._passing)
            else:
                stream.write(f"{CLEAR_LINE}{text}\n{self._passing}")
            stream.flush()
        except (OSError, ValueError):
            self.handleError(record)

    def flush(self) -> None:
        """End the progress line, so that it stays."""
        if self._passing:
            stream = self._stream or sys.stderr
            stream.write("\n")
            self._passing = ""

    def close(self) -> None:
        """End the progress line; take no more."""
        self.flush()
        super().close()


def log_to_stderr() -> None:
    """Set up logging of a training process, once."""
    console = Console()
    console.setFormatter(logging.Formatter("%(message)s"))
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(console)
        root.setLevel(logging.INFO)
