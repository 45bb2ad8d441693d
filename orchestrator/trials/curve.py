"""The points of a trial's curves on their way to the driver."""

import time
from collections.abc import Callable
from typing import Any

HAND_OVER_SECONDS = 2.0
"""Points wait this long for others: to hand them over stops a trial for some 10 ms."""


class Curve:
    """Hands points over several at a time, in order; which points there are does not depend on when."""

    def __init__(self, report: Callable[[dict[str, Any]], None]) -> None:
        self._report = report
        self._points: list[dict[str, Any]] = []
        self._handed_over = -float("inf")

    def add(self, point: dict[str, Any]) -> None:
        """A report of one step, its number under `step`."""
        self._points.append(point)
        if time.monotonic() - self._handed_over >= HAND_OVER_SECONDS:
            self.hand_over()

    def hand_over(self) -> None:
        """All that wait, now: `step` of the last of them, and the `points`."""
        if self._points:
            points, self._points = self._points, []
            self._report({"step": points[-1]["step"], "points": points})
            self._handed_over = time.monotonic()
