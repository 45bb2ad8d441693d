"""The command that tells MLflow of a sweep what it missed: all of it, where it is another server than before."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.command_line.read import read, reader_may_leave
from orchestrator.driver.claims import TRACKING_DIRECTORY, locked, saved_config
from orchestrator.errors import UserError
from orchestrator.grid.base_config import BaseConfig
from orchestrator.redaction import mistake_line, redact
from orchestrator.storage.address import home_of
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Command:
    """Send MLflow what is in a sweep's journal and not yet there; the sweep itself is left as it is."""

    sweep: str
    """Name of a sweep under `storage` that is not running."""
    storage: Path = BaseConfig.storage
    """Directory with the sweep, or its address."""
    tracking_uri: str | None = None
    """MLflow server; MLFLOW_TRACKING_URI, or a SQLite store under `storage`, unless given."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 all is there, 1 some is not, 2 the user's mistake."""
    try:
        words = sys.argv[1:] if argv is None else argv
        command = read(Command, words, str(Command.__doc__), prog="python -m orchestrator.driver.replay")
        uri = command.tracking_uri or default_uri(home_of(command.storage))
        unsent = replay(command.storage, command.sweep, uri)
    except UserError as error:
        sys.stderr.write(mistake_line(error))
        return 2
    with reader_may_leave():
        sent = f"MLflow at {redact(uri)} has all of sweep {command.sweep}"
        sys.stdout.write(f"{sent}\n" if not unsent else f"{unsent} entries wait for MLflow at {redact(uri)}\n")
    return 1 if unsent else 0


def replay(storage: Path, sweep: str, uri: str) -> int:
    """Deliver a sweep's journal; returns how many entries are left. Raises UserError."""
    saved_config(storage, sweep)  # there is such a sweep, and it is on this machine
    home = home_of(storage)
    with locked(home / sweep):
        directory = home / sweep / TRACKING_DIRECTORY
        if not directory.is_dir() or (experiment := Journal(directory).experiment) is None:
            raise UserError(f"sweep {sweep!r}: has not begun, so there is nothing to send")
        return Tracker(uri, experiment, sweep, home, directory).deliver()


if __name__ == "__main__":
    sys.exit(main())
