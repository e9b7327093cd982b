"""Read ahead: batches are made by a thread while the device computes."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Yield the same items, up to `depth` of them made before they are asked for.

    An error in making one is raised where it would have been yielded. When the iterator is closed
    or dropped, no further item is made.
    """
    line = _Line[Item](depth)
    thread = threading.Thread(target=line.fill, args=(items,), name="read-ahead", daemon=True)
    thread.start()
    try:
        yield from line.take()
    finally:
        line.dropped.set()
        thread.join()


class _Line(Generic[Item]):
    """Items that are made and not yet taken; an error or None ends them."""

    def __init__(self, depth: int) -> None:
        self.dropped = threading.Event()
        self._waiting: queue.Queue[list[Item] | BaseException | None] = queue.Queue(depth)

    def fill(self, items: Iterable[Item]) -> None:
        """Make items until they end or nobody wants them."""
        end: BaseException | None = None
        try:
            for item in items:
                if not self._offer([item]):
                    return
        except BaseException as error:  # noqa: BLE001 - handed over to whoever iterates
            end = error
        self._offer(end)

    def take(self) -> Iterator[Item]:
        """Yield items as they come."""
        while True:
            found = self._waiting.get()
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            yield from found

    def _offer(self, entry: list[Item] | BaseException | None) -> bool:
        while not self.dropped.is_set():
            try:
                self._waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
