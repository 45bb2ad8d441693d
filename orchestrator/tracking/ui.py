"""The command that shows the runs of a storage directory in MLflow, on this machine only."""

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.command_line.read import read
from orchestrator.errors import UserError
from orchestrator.grid.base_config import BaseConfig
from orchestrator.redaction import mistake_line
from orchestrator.storage.address import home_of, spelt
from orchestrator.tracking.addresses import sqlite_file, sqlite_uri

HOST = "127.0.0.1"
PATIENT = "--timeout-worker-healthcheck=300"  # seconds; after 5, its default, uvicorn kills what a busy machine imports


@dataclass(frozen=True, kw_only=True)
class Command:
    """Show the runs under `storage` in MLflow, on this machine only."""

    storage: Path = BaseConfig.storage
    """Directory with the SQLite store."""
    port: int = 5000
    """Port of 127.0.0.1."""


def main(argv: Sequence[str] | None = None) -> int:
    """Becomes MLflow's server; returns the exit status only where that cannot be: 2, the user's mistake."""
    given = sys.argv[1:] if argv is None else argv
    try:
        words = server(read(Command, given, str(Command.__doc__), prog="python -m orchestrator.tracking.ui"))
    except UserError as error:
        sys.stderr.write(mistake_line(error))
        return 2
    os.execv(words[0], words)


def server(command: Command) -> list[str]:
    """The command line of MLflow's server. Raises UserError where there is nothing to show or the port is taken."""
    uri = sqlite_uri(home_of(command.storage))
    file = sqlite_file(uri)
    if file is None or not file.is_file():  # MLflow would create it
        raise UserError(f"storage {spelt(command.storage)!r}: no runs there yet; make sweep records some")
    _check_port(command)
    return [
        sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", HOST, "--port", str(command.port),
        "--uvicorn-opts", PATIENT,
    ]  # fmt: skip


def _check_port(command: Command) -> None:
    """MLflow's own processes would each fail with a traceback, while a browser is shown whoever has the port."""
    port = command.port
    if not 0 < port < 2**16:
        raise UserError(f"port {port}: must be from 1 to 65535")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that ended a moment ago is no other
            probe.bind((HOST, port))
    except OSError as error:
        others = f"take another, such as PORT={port + 1 if port >= 1024 and port + 1 < 2**16 else 5001}"
        raise UserError(f"port {port}: cannot be had on {HOST} ({error.strerror}); {others}") from None


if __name__ == "__main__":
    sys.exit(main())
