"""Main text of HTML pages, by an extractor that runs in a process of its own.

Extractors are other people's code on the worst input there is: a page may keep one busy for hours
or crash it. So each works in a child process with a limit on processor time, which a busy machine
does not change, and costs at most the page at hand.
The same page, settings and package versions give the same text.
"""

import os
import select
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import IO, Literal

from dolmix.errors import DataError
from dolmix.files import extract_child
from dolmix.files.extract_child import FAILED, HEADER, READY, TEXT
from dolmix.files.records import BadValueError

ExtractorName = Literal["trafilatura", "resiliparse", "none"]
Favor = Literal["balanced", "precision", "recall"]

PACKAGES: dict[str, tuple[str, ...]] = {
    "trafilatura": ("trafilatura", "justext", "lxml"),
    "resiliparse": ("resiliparse",),
}
"""Packages that decide what an extractor finds."""
START_S = 120.0
"""What a child may take to load its packages, on a busy machine."""
WAITING_TIMES = 30
"""Times the limit on processor time, what a page may take by the clock: a machine may be busy."""


class ExtractionError(Exception):
    """The extractor raised on a page; it would again."""


def extractor_versions(name: str) -> dict[str, str]:
    """Versions of the packages that decide what an extractor finds; they enter task keys.

    Raises DataError for a package that is not installed.
    """
    try:
        return {package: version(package) for package in PACKAGES.get(name, ())}
    except PackageNotFoundError as error:
        raise DataError(
            f"extractor {name!r} needs the package {error.name}, which is not installed. "
            "pip install 'dolmix[warc]', or set warc.extractor to one that is there."
        ) from None


class Extractor:
    """One extractor with its child process, which is started by the first page. Close it after."""

    def __init__(self, name: ExtractorName, favor: Favor, timeout_s: float) -> None:
        self.name, self.favor, self.timeout_s = name, favor, timeout_s
        self._child: subprocess.Popen[bytes] | None = None

    def extract(self, html: str) -> str:
        """Find the main text of a page; it is empty where there is none.

        Raises ExtractionError where the extractor raises, BadValueError where it takes longer than
        the limit or ends, DataError if it cannot be started.
        """
        child = self._child or self._start()
        page = html.encode("utf-8", "replace")
        try:
            _write(child.stdin, TEXT, page)
            kind, answer = _read(child.stdout, time.monotonic() + self.timeout_s * WAITING_TIMES)
        except (TimeoutError, EOFError, BrokenPipeError) as error:
            late, code = isinstance(error, TimeoutError), self.close()
            late = late or code == -signal.SIGPROF
            what = f"took more than {self.timeout_s:g} s" if late else f"ended (exit code {code})"
            raise BadValueError(f"{self.name} {what} on a page of {len(page):,} bytes") from None
        if kind == FAILED:
            raise ExtractionError(answer.decode())
        return answer.decode()

    def close(self) -> int | None:
        """End the child process; return its exit code."""
        child, self._child = self._child, None
        if child is None:
            return None
        if child.stdin is not None:
            try:
                child.stdin.close()
                child.wait(timeout=1)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                child.kill()
        code = child.wait()
        if child.stdout is not None:
            child.stdout.close()
        return code

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: the modules beside that file are no top-level ones
        about = (self.name, self.favor, str(self.timeout_s))
        command = [sys.executable, "-P", extract_child.__file__, *about]
        self._child = subprocess.Popen(  # noqa: S603 - this interpreter, our own file
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            kind, answer = _read(self._child.stdout, time.monotonic() + START_S)
        except (TimeoutError, EOFError):
            kind, answer = FAILED, b"it gave no sign of life"
        if kind != READY:
            self.close()
            raise DataError(
                f"extractor {self.name!r} cannot be started: {answer.decode()}. "
                "pip install 'dolmix[warc]' installs what it needs."
            )
        return self._child


def _write(pipe: IO[bytes] | None, kind: bytes, content: bytes) -> None:
    assert pipe is not None
    pipe.write(HEADER.pack(kind, len(content)))
    pipe.write(content)
    pipe.flush()


def _read(pipe: IO[bytes] | None, until: float) -> tuple[bytes, bytes]:
    """Read one message. Raises TimeoutError, or EOFError where the child has ended."""
    assert pipe is not None
    kind, length = HEADER.unpack(_read_bytes(pipe.fileno(), HEADER.size, until))
    return kind, _read_bytes(pipe.fileno(), length, until)


def _read_bytes(descriptor: int, count: int, until: float) -> bytes:
    pieces, left = [], count
    while left:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimeoutError
        piece = os.read(descriptor, left)
        if not piece:
            raise EOFError
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
