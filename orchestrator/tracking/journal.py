"""The on-disk record of everything a sweep logs, so that MLflow may be away without loss.

`journal.jsonl` is append-only, one JSON entry a line, never rewritten. `state.json` says how far the entries have been
delivered and which MLflow runs they went to; it is replaced atomically.
"""

import json
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.redaction import redacted_json
from orchestrator.saved import LARGEST, is_count
from orchestrator.tracking.entries import Entry, are_texts, parse_entry

_logger = logging.getLogger(__name__)

JOURNAL_FILE = "journal.jsonl"
SAVE_S = 1.0
"""Progress is noted on disk no more often: what is sent again has no effect, and the note grows with the trials."""
COMMAND = "command"
"""Tag of the parent run."""
PARENT = ""
"""The parent run's place among the names of trials."""
Point = tuple[float, int, int]
"""Of a metric: its value, step, and time in ms."""


@dataclass
class State:
    """What the receiver is known to have."""

    offset: int = 0
    """Byte of the journal up to which every entry was delivered or given up."""
    experiment_id: str = ""
    runs: dict[str, str] = field(default_factory=dict)
    """MLflow run id by trial; the parent run's is under `PARENT`."""


class Journal:
    """One writer (the sweep) and one reader (the sender thread) of the journal in `directory`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._path = directory / JOURNAL_FILE
        self._state_path = directory / "state.json"
        self._lock = threading.Lock()
        self._saved_at, self._unsaved, self._said_unsaved = -math.inf, False, False
        self._may_be_torn = False
        self._last: dict[tuple[str | None, str], Point] = {}
        self._of_models: dict[tuple[str | None, str], Point] = {}
        self.began = latest = 0
        """Time of the first entry in ms."""
        self.id = ""
        """Hex name of this journal: two sweeps that share a name and an MLflow server are told apart by it."""
        self.experiment: str | None = None
        """The experiment that the sweep began in; None before it began, and in journals of older versions."""
        self.command: str | None = None
        """The command line that the sweep began with."""
        self.uploads: set[tuple[str | None, str | None]] = set()
        """Trials and artifact paths of what was to be uploaded when this journal was opened."""
        self._close_torn_line()
        for entry, _ in self._read(0):
            if is_count(time_ms := entry.get("t")):  # the first entry of older journals may have none
                self.began, latest = self.began or time_ms, max(latest, time_ms)
            if entry["op"] == "journal":
                self.id = entry["id"]
            elif entry["op"] == "metrics":
                points = {key: (value, entry["step"], entry["t"]) for key, value in entry["data"].items()}
                self._last.update({(entry["trial"], key): point for key, point in points.items()})
            elif entry["op"] == "model":
                self._of_models.update({(entry["trial"], key): tuple(point) for key, point in entry["data"].items()})
            elif entry["op"] == "artifacts":
                self.uploads.add((entry["trial"], entry["to"]))
            self.experiment = self.experiment or entry.get("experiment")
            if entry["op"] == "start":
                self.command = self.command or entry["tags"].get(COMMAND)
        self._started_ns = latest * 10**6 - time.monotonic_ns()
        """The time at which the clock that only runs forward would have been 0."""
        if self.id:
            self.state = self._load_state()
        else:
            self.id, self.state = uuid.uuid4().hex, State()
            self.append("journal", None, id=self.id)

    def append(self, op: str, trial: str | None, **fields: object) -> int:
        """Write one entry, stamped with the time in ms, which is returned.

        It survives the death of this process, though not of the OS. Raises OSError where there is no room for it,
        which costs no other entry.
        """
        with self._lock:
            if self._may_be_torn:
                self._close_torn_line()
            self._may_be_torn = True
            with self._path.open("a", encoding="utf-8") as file:
                entry = {"op": op, "trial": trial, "t": (now := self.now()), **fields}
                file.write(redacted_json(entry, default=str) + "\n")
            self._may_be_torn = False
        return now

    def now(self) -> int:
        """The time in ms. It goes on from where it was when a clock is set back: no run ends before it began."""
        forward_ns = time.monotonic_ns()
        self._started_ns = max(self._started_ns, time.time_ns() - forward_ns)
        now = min((self._started_ns + forward_ns) // 10**6, LARGEST)
        self.began = self.began or now
        return now

    def append_metrics(self, trial: str | None, metrics: Mapping[str, float], step: int) -> None:
        """Write the metrics not yet written at this or a later step: a restored trial repeats steps it has logged."""
        known = {key: self._last[trial, key][1] for key in metrics if (trial, key) in self._last}
        fresh = {key: float(value) for key, value in metrics.items() if step > known.get(key, step - 1)}
        if fresh:
            now = self.append("metrics", trial, step=int(step), data=fresh)
            self._last.update({(trial, key): (value, int(step), now) for key, value in fresh.items()})

    def append_model(self, trial: str, metrics: Collection[str]) -> None:
        """Write the last points of these metrics as those of the trial's coder, without what it is known to have.

        Only finite ones: MLflow's databases keep NaN of a model as 0, the best of all errors.
        """
        points = {key: self._last[trial, key] for key in metrics if (trial, key) in self._last}
        fresh = {
            key: point for key, point in points.items()
            if math.isfinite(point[0]) and self._of_models.get((trial, key)) != point
        }  # fmt: skip
        if fresh:
            self.append("model", trial, data=fresh)
            self._of_models.update({(trial, key): point for key, point in fresh.items()})

    def pending(self) -> Iterator[tuple[Entry, int]]:
        """The undelivered entries, each with the offset that follows it; read as they are asked for."""
        return self._read(self.state.offset)

    def unsent(self) -> int:
        """How many entries are undelivered."""
        return sum(1 for _ in self._read(self.state.offset))

    def advance(self, offset: int) -> None:
        """Note that the entries before `offset` are done with, soon on disk too."""
        self.state.offset, self._unsaved = offset, True
        if time.monotonic() - self._saved_at >= SAVE_S:
            self.save()

    def flush(self) -> None:
        """Put `state` on disk where it is not there yet."""
        if self._unsaved:
            self.save()

    def save(self) -> None:
        """Put `state` on disk. Where that cannot be it is left for later: what is sent again has no effect."""
        self._saved_at = time.monotonic()
        draft = self._state_path.with_suffix(".tmp")
        try:
            draft.write_text(json.dumps(asdict(self.state)), encoding="utf-8")
            draft.replace(self._state_path)
        except OSError as error:
            if not self._said_unsaved:
                _logger.warning("%s cannot be written, and is tried again: %s", self._state_path, error.strerror)
            self._unsaved = self._said_unsaved = True
        else:
            self._unsaved = self._said_unsaved = False

    def _load_state(self) -> State:
        try:
            state = State(**json.loads(self._state_path.read_text(encoding="utf-8")))
            self._check_state(state)
            return state
        except FileNotFoundError:
            return State()
        except (TypeError, ValueError, RecursionError):  # left by a crash; sent again, nothing is created twice
            _logger.warning("%s is unreadable: every entry of the journal is sent again", self._state_path)
            return State()

    def _check_state(self, state: State) -> None:
        """Raises ValueError for a state that is none of this journal: entries before its offset are never sent."""
        if not (is_count(state.offset) and isinstance(state.experiment_id, str) and are_texts(state.runs)):
            raise ValueError("of other types")
        with self._path.open("rb") as file:
            file.seek(max(state.offset - 1, 0))
            if state.offset and file.read(1) != b"\n":
                raise ValueError("not at the end of an entry")

    def _close_torn_line(self) -> None:
        """End a line that a killed process or a full disk left unfinished, so that the next entry starts its own."""
        with self._path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")

    def _read(self, offset: int) -> Iterator[tuple[Entry, int]]:
        return _entries(self._path, offset)


def read_entries(directory: Path) -> Iterator[Entry]:
    """Every entry of the journal in `directory`, in order; a line that is damaged has the `op` torn."""
    return (entry for entry, _ in _entries(directory / JOURNAL_FILE, 0))


def _entries(path: Path, offset: int) -> Iterator[tuple[Entry, int]]:
    """The entries from `offset`, each with the offset that follows it."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # the sweep is in the middle of writing it
            offset += len(line)
            yield parse_entry(line), offset
