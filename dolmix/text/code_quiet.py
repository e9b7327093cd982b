"""Parsers that warn, kept quiet: what a document makes them say is no news to the user."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep what parsers warn about, an odd escape say, from the user; one thread at a time.

    Filters of warnings belong to the whole program: two threads that set and restore them at once
    could leave them changed.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
