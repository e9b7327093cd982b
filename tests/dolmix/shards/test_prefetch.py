"""Reading ahead: in order, never further than asked, errors in their place."""

import threading
import time

import pytest

from dolmix.errors import UsageError
from dolmix.shards.prefetch import prefetched


@pytest.mark.parametrize(("depth", "threads"), [(0, 1), (1, 1), (3, 1), (4, 3)])
def test_results_come_in_order(depth: int, threads: int) -> None:
    """Whichever finishes first: a slow one holds back those after it."""

    def read(n: int) -> int:
        time.sleep(0.004 if n % 3 == 0 else 0)
        return n * n

    found = list(prefetched(read, range(20), depth=depth, threads=threads))
    assert found == [n * n for n in range(20)]


def test_no_more_than_the_depth_is_read_ahead() -> None:
    """While one result is used, at most `depth` others were begun."""
    begun: list[int] = []
    results = prefetched(begun.append, range(100), depth=3, threads=2)
    for n in range(5):
        next(results)
        time.sleep(0.02)
        assert len(begun) <= n + 1 + 3
    results.close()  # type: ignore[attr-defined]
    count = len(begun)
    time.sleep(0.02)
    assert len(begun) == count <= 9


def test_an_error_is_raised_in_its_place() -> None:
    """What came before it is given first, and no thread is left behind."""

    def read(n: int) -> int:
        if n == 2:
            raise OSError("the disk is gone")
        return n

    before = threading.active_count()
    results = prefetched(read, range(10), depth=4, threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)
    assert threading.active_count() == before


@pytest.mark.parametrize(("depth", "threads"), [(-1, 1), (1, 0)])
def test_settings_below_their_least_are_refused(depth: int, threads: int) -> None:
    """The message tells both."""
    with pytest.raises(UsageError, match=f"depth is {depth} and threads {threads}"):
        list(prefetched(int, [], depth=depth, threads=threads))
