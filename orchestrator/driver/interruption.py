"""SIGINT and SIGTERM: both end a script in order, and its exit status says which it was."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKING = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """What has asked this process to end, if anything. Usable in the main thread only."""

    def __init__(self) -> None:
        self.signal: int | None = None
        """The signal that came last; None while none has."""
        self._patient = False

    @property
    def exit_status(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + (self.signal or signal.SIGINT)

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Within the block both signals raise KeyboardInterrupt. To be entered again where a library took them over."""
        before = {asking: signal.signal(asking, self._handle) for asking in ASKING}
        try:
            yield
        finally:
            for asking, handler in before.items():
                signal.signal(asking, handler)

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Within the block, of `handled`, the first one is only noted: the block looks at `signal` and ends itself."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.signal = self.signal is None, number
        if not (first and self._patient):
            raise KeyboardInterrupt
