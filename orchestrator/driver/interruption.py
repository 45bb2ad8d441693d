"""SIGINT, SIGTERM and SIGHUP: each ends a script in order, and its exit status says which it was."""

import signal
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import Any

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS_UNTIL_TAKEN_BACK = 0.02


class Interruption:
    """What has asked this process to end, if anything. Usable in the main thread only.

    A signal that is ignored already stays so: nohup asks for it, and a shell for scripts in the background.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        """The signal that came last; None while none has."""
        self._asking = [asking for asking in ASKING if signal.getsignal(asking) is not signal.SIG_IGN]
        self._patient = False

    @property
    def exit_status(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + (self.signal or signal.SIGINT)

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Within the block the signals raise KeyboardInterrupt."""
        before = {asking: signal.getsignal(asking) for asking in self._asking}
        self._take()
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

    def outlast(self, work: Future[Any]) -> None:
        """Wait for work that must not be broken off, and takes signals over in C: they are taken back meanwhile.

        Raises the KeyboardInterrupt of a signal that came meanwhile, otherwise what the work raises.
        """
        self.sit_out(work)
        if self.signal is not None:
            raise KeyboardInterrupt
        work.result()

    def sit_out(self, work: Future[Any]) -> None:
        """The same for work that ends something anyway: a signal is noted, and what the work raises is left to it."""
        with self.patient():
            while not work.done():
                wait([work], timeout=SECONDS_UNTIL_TAKEN_BACK)
                self._take()

    def _take(self) -> None:
        for asking in self._asking:
            signal.signal(asking, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.signal = self.signal is None, number
        if not (first and self._patient):
            raise KeyboardInterrupt
