"""The child process of `Extractor`: pages in on stdin, main texts out on stdout, until stdin ends.

Started as `python -P extract_child.py EXTRACTOR FAVOR LIMIT_S`, it imports nothing of dolmix, so
that it starts fast. Nothing else writes to stdout.
"""

import logging
import os
import signal
import struct
import sys
from collections.abc import Callable
from typing import IO

HEADER = struct.Struct("<cQ")
"""A message: what it is, how many bytes of UTF-8 follow."""
READY, TEXT, FAILED = b"r", b"t", b"f"

Extract = Callable[[str], str]
_SHOWN_CHARACTERS = 200


def load(name: str, favor: str) -> Extract:
    """Import an extractor and settle how it is asked. Raises ImportError if it is not there."""
    if name == "trafilatura":
        from trafilatura import extract

        def with_trafilatura(html: str) -> str:
            found = extract(
                html,
                include_comments=False,
                favor_precision=favor == "precision",
                favor_recall=favor == "recall",
            )
            return found or ""

        return with_trafilatura
    from resiliparse.extract.html2text import extract_plain_text

    def with_resiliparse(html: str) -> str:
        return str(extract_plain_text(html, main_content=favor != "recall", alt_texts=False))

    return with_resiliparse


def serve(extract: Extract, pages: IO[bytes], texts: IO[bytes], limit_s: float) -> None:
    """Answer page after page; end by SIGPROF when one takes more processor time than the limit."""
    _answer(texts, READY, "")
    while len(head := pages.read(HEADER.size)) == HEADER.size:
        _, length = HEADER.unpack(head)
        html = pages.read(length).decode()
        signal.setitimer(signal.ITIMER_PROF, limit_s)
        try:
            kind, text = TEXT, extract(html)
        except Exception as error:  # noqa: BLE001 - whatever other people's code raises on a page
            kind, text = FAILED, f"{type(error).__name__}: {error}"[:_SHOWN_CHARACTERS]
        signal.setitimer(signal.ITIMER_PROF, 0)
        _answer(texts, kind, text)


def _answer(texts: IO[bytes], kind: bytes, text: str) -> None:
    content = text.encode("utf-8", "replace")  # entities can spell surrogates
    texts.write(HEADER.pack(kind, len(content)) + content)
    texts.flush()


def main() -> None:
    """Serve the extractor that the command line names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when this ends
    logging.disable()
    texts = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what packages print
    try:
        extract = load(sys.argv[1], sys.argv[2])
    except ImportError as error:
        _answer(texts, FAILED, str(error))
        return
    serve(extract, sys.stdin.buffer, texts, float(sys.argv[3]))


if __name__ == "__main__":
    main()
