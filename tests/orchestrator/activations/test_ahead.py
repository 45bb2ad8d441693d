"""Items made ahead in a thread: how many, in which order, and how that ends."""

import threading
from collections.abc import Iterator

import pytest

from orchestrator.activations.ahead import Ahead
from tests.support.waiting import LIMIT_SECONDS


class Numbers(Iterator[int]):
    """0, 1, 2, ... up to one that fails; counts how many were made."""

    def __init__(self, fails_at: int = 10**9) -> None:
        self.made, self.fails_at = 0, fails_at
        self.changed = threading.Condition()

    def __next__(self) -> int:
        with self.changed:
            if self.made == self.fails_at:
                raise OSError("disk gone")
            self.made += 1
            self.changed.notify_all()
            return self.made - 1

    def reaches(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.made >= count, LIMIT_SECONDS)


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_are_made_than_taken_and_those_ahead(ahead: int) -> None:
    numbers = Numbers()
    items = Ahead(numbers, ahead)
    for taken in range(20):
        assert numbers.reaches(taken + ahead)
        assert numbers.made == taken + ahead
        assert next(items) == taken
    items.close()
    assert 20 <= numbers.made <= 20 + ahead


def test_it_ends_where_the_items_do() -> None:
    items = Ahead(iter([1, 2, 3]), 2)
    assert list(items) == [1, 2, 3]
    with pytest.raises(StopIteration):
        next(items)
    items.close()


def test_what_goes_wrong_is_raised_in_its_place_as_often_as_asked() -> None:
    items = Ahead(Numbers(fails_at=3), 2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(OSError, match="disk gone"):
            next(items)
    items.close()


def threads() -> set[threading.Thread]:
    """Those that make items; others of this process come and go as they like."""
    return {thread for thread in threading.enumerate() if thread.name == "ahead"}


@pytest.mark.parametrize("taken", [0, 1, 4])
def test_closing_ends_the_thread_wherever_it_is(taken: int) -> None:
    before = threads()
    items = Ahead(Numbers(), 2)
    for _ in range(taken):
        next(items)
    items.close()
    items.close()
    assert threads() <= before
