"""Reading ahead: the same items in the same order, errors in their place, no thread left."""

import threading
import time
from collections.abc import Iterator

import pytest

from trainer.prefetch import ahead


def test_items_come_in_order() -> None:
    """All items, once, in order, for any depth."""
    assert list(ahead(range(50), 1)) == list(ahead(range(50), 7)) == list(range(50))


def test_an_error_comes_where_its_item_would() -> None:
    """Items before a failure are given; then the failure is raised."""

    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("torn")

    found = []
    with pytest.raises(ValueError, match="torn"):
        found.extend(ahead(items()))
    iterator = ahead(items())
    assert [next(iterator), next(iterator)] == [1, 2]
    with pytest.raises(ValueError, match="torn"):
        next(iterator)


def test_items_are_made_before_they_are_asked_for() -> None:
    """While the first is used, `depth` more and one in the making are made, and no others."""
    made: list[int] = []
    iterator = ahead((made.append(n) or n for n in range(100)), 3)
    assert next(iterator) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 5
    iterator.close()


def test_dropping_it_ends_the_thread() -> None:
    """An iterator that is closed early leaves no thread behind."""
    before = threading.active_count()
    iterator = ahead(iter(int, 1))
    next(iterator)
    iterator.close()
    assert threading.active_count() == before
