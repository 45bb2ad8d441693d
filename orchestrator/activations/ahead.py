"""Items made in a thread of its own, some of them before they are asked for."""

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """An iterator over `items` of which no more than `ahead` are made and not yet taken.

    What their making raises is raised where the item that failed would have come. `close` waits for the thread.
    """

    def __init__(self, items: Iterator[T], ahead: int) -> None:
        self._items = items
        self._room = threading.Semaphore(ahead)
        self._made: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._make, name="ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> "Ahead[T]":
        return self

    def __next__(self) -> T:
        item = self._made.get()
        if isinstance(item, _End):
            self._made.put(item)  # for whoever asks again
            raise item.reason
        self._room.release()
        return item

    def close(self) -> None:
        """Make nothing more; returns when the thread has ended."""
        self._closed.set()
        self._room.release()
        self._thread.join()

    def _make(self) -> None:
        try:
            while self._room.acquire() and not self._closed.is_set():
                self._made.put(next(self._items))
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that takes the items
            self._made.put(_End(error))


class _End:
    """Takes the place of the item that cannot be made."""

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason
