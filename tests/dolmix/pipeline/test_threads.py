"""Threads inside a task: who may have how many, and that nothing depends on them."""

from collections.abc import Iterator
from pathlib import Path
from threading import current_thread
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.errors import StoreError
from dolmix.pipeline import worker
from dolmix.pipeline.pool import TaskRunner
from dolmix.pipeline.threads import MOST_THREADS, ahead, spare_threads


@given(tasks=st.integers(1, 200), workers=st.integers(1, 64))
def test_tasks_share_only_what_would_be_idle(tasks: int, workers: int) -> None:
    """Never more threads than workers where tasks are fewer; else, and so at least, one a task."""
    threads = spare_threads(tasks, workers)
    assert 1 <= threads <= MOST_THREADS
    assert threads == 1 or tasks * threads <= workers
    assert threads == MOST_THREADS or tasks * (threads + 1) > workers


@pytest.mark.parametrize(("tasks", "threads"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_a_pass_hands_its_tasks_their_threads(
    tasks: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the number of its open tasks, and the run's workers."""
    plan = SimpleNamespace(
        pipeline=SimpleNamespace(executor=SimpleNamespace(workers=4)),
        passes={"filter": "abcdefghi"},
    )
    given: list[Any] = []
    monkeypatch.setattr(worker, "load_work", lambda *_: (plan, [("filter", 2)] * tasks))
    monkeypatch.setattr(worker, "run_task", lambda *task, **how: given.append((task, how)))
    TaskRunner(Path("run"), Path("todo"))(None, tasks - 1, tasks)
    assert given == [((plan, "c"), {"threads": threads})]


def test_an_error_of_an_earlier_item_is_the_one_that_is_raised() -> None:
    """Items that cannot be taken are told of after what comes before them, with threads or not."""

    def items() -> Iterator[int]:
        yield from (1, 0, 1)
        raise StoreError("no more")

    for threads in (0, 1, 3):
        with pytest.raises(ZeroDivisionError):
            list(ahead(lambda n: 1 // n, items(), threads=threads))
        found: list[int] = []
        with pytest.raises(StoreError, match="no more"):
            found.extend(ahead(lambda n: n + 1, items(), threads=threads))
        assert found == [2, 1, 2]


@settings(deadline=None, max_examples=30)
@given(number=st.integers(0, 9), threads=st.integers(0, 3))
def test_some_are_made_ahead_and_no_more(number: int, threads: int) -> None:
    """Results come in order, made in other threads, at most one a thread beyond the one in use."""
    taken: list[int] = []
    here = current_thread()

    def items() -> Iterator[int]:
        for item in range(number):
            assert current_thread() is here
            taken.append(item)
            yield item

    def work(item: int) -> int:
        assert (current_thread() is here) == (threads == 0)
        return item * item

    for place, result in enumerate(ahead(work, items(), threads=threads)):
        assert result == place * place
        assert taken == list(range(min(place + 1 + threads, number)))


def test_what_fails_ahead_is_raised_in_its_turn() -> None:
    """Results before it are given first; one that is not waited for is waited for at the close."""
    ended: list[int] = []

    def work(item: int) -> Any:
        if item == 2:
            raise StoreError("the third")
        sleep(0.01 * item)
        ended.append(item)
        return item

    found: list[int] = []
    with pytest.raises(StoreError, match="the third"):
        found.extend(ahead(work, range(5)))
    assert found == [0, 1]
    ended.clear()
    some = ahead(work, [0, 1])
    assert next(some) == 0
    some.close()
    assert ended == [0, 1]
