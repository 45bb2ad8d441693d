"""When a sweep's journal reaches MLflow: sent by a daemon thread, in order, for as long as MLflow is away."""

import logging
import threading
from collections.abc import Callable

from orchestrator.redaction import redact
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.mlflow_store import brief, is_final
from orchestrator.tracking.writer import Writer

_logger = logging.getLogger(__name__)

_BACKOFF_S = (0.5, 30.0)  # first and longest wait
_GATHER_S = 2.0  # between two deliveries, so that a call takes many points: each costs some 10 ms of a core
_PATIENCE = 20  # failures of one entry, with MLflow answering before each (7 minutes), after which it is given up


class Delivery:
    """The thread that empties a journal through a `Writer`, which `connect` makes whenever there is none that answers.

    Delivery is at least once. `sweep` and `uri` are for warnings.
    """

    def __init__(self, journal: Journal, connect: Callable[[], Writer], sweep: str, uri: str) -> None:
        self._journal, self._connect, self._sweep, self._uri = journal, connect, sweep, uri
        self._writer: Writer | None = None
        self._failures, self._refusals, self._delay = 0, 0, _BACKOFF_S[0]
        self._wake, self._closing, self._abandoned = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._deliver, name="mlflow-sender", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that the journal has grown."""
        self._wake.set()

    def finish(self, timeout_s: float, *, patient: bool = False) -> None:
        """Deliver what is left for up to `timeout_s` seconds, then end the thread.

        `patient`: those seconds begin again whenever an entry has been delivered.
        """
        self._closing.set()
        self._wake.set()
        before = -1
        while self._thread.is_alive() and before != (before := self._journal.state.offset):
            self._thread.join(timeout_s)
            if not patient:
                break
        self._abandoned.set()

    def _deliver(self) -> None:
        """Deliver until `finish` and an empty journal, or until abandoned."""
        try:
            while not self._abandoned.is_set():
                self._wake.clear()
                closing = self._closing.is_set()  # before the journal is read: nothing is written after `finish`
                try:
                    delivered = self._deliver_next()
                except Exception as error:  # noqa: BLE001 -- artifact stores raise their own types; nothing may end the thread
                    self._wait_after(error)
                    continue
                self._failures, self._delay = 0, _BACKOFF_S[0]
                if not delivered:
                    if closing:
                        return
                    self._wake.wait()
        finally:
            self._journal.flush()

    def _deliver_next(self) -> bool:
        """Deliver the next entry or give it up; False if there is none. Raises whatever stands in the way for now."""
        upcoming = next(self._journal.pending(), None)
        if upcoming is None:
            return False
        if upcoming[0]["op"] == "metrics":
            self._closing.wait(_GATHER_S)
        self._writer = self._writer or self._connect()
        given_up = self._refusals >= _PATIENCE
        try:
            self._writer.send_next(giving_up=given_up)
        except Exception as error:
            self._writer = None
            self._refusals += 1
            if not (given_up or (self._refusals > 1 and is_final(error))):
                raise
            # No run can be made for this entry, or it is garbled.
            _logger.warning("dropping an entry of sweep %s: %s", self._sweep, brief(error))
            self._journal.advance(next(self._journal.pending())[1])
        self._refusals = 0
        return True

    def _wait_after(self, error: Exception) -> None:
        """Say what stands in the way, now and then, and wait before the next attempt."""
        if self._failures % _PATIENCE == 0:
            try:
                waiting, where = self._journal.unsent(), redact(self._uri)
            except OSError as unreadable:  # as where this process has too many files open
                why = brief(unreadable)
                _logger.warning("sweep %s does not reach MLflow, its journal cannot be read: %s", self._sweep, why)
            else:
                _logger.warning("MLflow at %s does not take entries, %d wait: %s", where, waiting, brief(error))
        self._failures += 1
        if self._closing.wait(self._delay):  # once `finish` waits, retry briskly
            self._abandoned.wait(_BACKOFF_S[0])
        self._delay = min(2 * self._delay, _BACKOFF_S[1])
