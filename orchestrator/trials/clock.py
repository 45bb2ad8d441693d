"""Where the time of a trial goes: steps, waiting for batches, and the rest."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Times of one process of a trial, and what its steps took since the trial began.

    A step on a GPU is timed by events on it, since the host only asks for work; they are read when metrics are.
    """

    def __init__(self, device: torch.device, train_seconds: float) -> None:
        self.device = device
        self.started = time.monotonic()
        self.steps = 0
        self._before = train_seconds
        """Of steps in earlier processes."""
        self._trained = self._waited = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Around a step."""
        self.steps += 1
        if self.device.type == "cuda":
            events = _event(), _event()
            events[0].record()
            yield
            events[1].record()
            self._events.append(events)
            return
        start = time.monotonic()
        yield
        self._trained += time.monotonic() - start

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around asking for a batch."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def train_seconds(self) -> float:
        """In steps since the trial began; waits for those under way."""
        if self._events:
            self._events[-1][1].synchronize()
            self._trained += sum(start.elapsed_time(end) for start, end in self._events) / 1000
            self._events.clear()
        return self._before + self._trained

    def metrics(self, batch_tokens: int) -> dict[str, float]:
        """Speed of this process so far, and what share of its time went where."""
        train_seconds = self.train_seconds()
        elapsed = max(time.monotonic() - self.started, 1e-9)
        found = {
            "tokens_per_second": self.steps * batch_tokens / elapsed,
            "train_seconds": train_seconds,
            "data_wait_pct": 100 * self._waited / elapsed,
        }
        if self.device.type == "cuda":
            found["device_busy_pct"] = 100 * self._trained / elapsed
            found["peak_memory_bytes"] = torch.cuda.max_memory_allocated(self.device)
        return found


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
