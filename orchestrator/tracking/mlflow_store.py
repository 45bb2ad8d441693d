"""What everything that talks to MLflow needs: the database, settings, and errors in one line."""

import logging
import os
import re
import secrets
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from requests import HTTPError

from orchestrator.errors import UserError
from orchestrator.redaction import redact
from orchestrator.tracking.addresses import sqlite_file, uri_of

_SQLITE = b"SQLite format 3\0"

# A proxy whose server is down answers 404; a run that is gone is made anew when the connection is.
_TRANSIENT_CODE = {"ENDPOINT_NOT_FOUND", "RESOURCE_DOES_NOT_EXIST"}
_TRANSIENT_STATUS = {401, 403, 408, 409, 425, 429, 499}  # mended by time, or by a person who renews a token


def check_database(uri: str) -> None:
    """Raises UserError where the file of a SQLite store is something else."""
    if (file := sqlite_file(uri)) is None or not file.is_file():
        return
    with file.open("rb") as opened:
        start = opened.read(len(_SQLITE))
    if start not in (b"", _SQLITE):
        raise UserError(f"storage {str(file.parent)!r}: {file.name} is no SQLite database; move it away")


def create_database(uri: str) -> None:
    """Make the file of a SQLite store where there is none, with all its tables or not at all.

    MLflow makes it where it is, in dozens of steps: two sweeps that begin at once, or one that is killed meanwhile,
    would leave a database that nobody can use any more.
    """
    if (file := sqlite_file(uri)) is None or file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    try:
        MlflowClient(tracking_uri=uri_of(draft)).search_experiments(max_results=1)
        with suppress(FileExistsError):  # somebody else was first
            _put(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def _put(draft: Path, file: Path) -> None:
    """Raises FileExistsError where it is there already, and leaves it alone."""
    try:
        os.link(draft, file)
    except FileExistsError:
        raise
    except OSError:  # of a file system without hard links
        if file.exists():
            raise FileExistsError(file) from None
        draft.rename(file)


def quieten_mlflow() -> None:
    """Settings that have to be made before MLflow is first used."""
    # Retries are the sender thread's business; MLflow's own would keep it inside one call for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # MLflow silences alembic itself, but not its own lines about the migrations of a new SQLite file.
    # Of an error it logs a traceback with all its SQL; we say it in a line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def server_version(uri: str) -> tuple[int, int]:
    """Major and minor release of what shows this store; (0, 0) for a server that does not say."""
    said = version("mlflow")
    if uri.startswith(("http://", "https://")):
        try:
            said = http_request(get_default_host_creds(uri), "/version", "GET").text
        except MlflowException:
            return 0, 0
    found = re.match(r"(\d{1,4})\.(\d{1,4})", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def is_final(error: Exception) -> bool:
    """Whether the same call can never succeed."""
    if isinstance(error, MlflowException):
        status = 0 if error.error_code in _TRANSIENT_CODE else error.get_http_status_code()
    elif isinstance(error, HTTPError) and error.response is not None:
        status = error.response.status_code
    else:
        return isinstance(error, (FileNotFoundError, PermissionError))  # of the files to upload
    return 400 <= status < 500 and status not in _TRANSIENT_STATUS


def brief(error: Exception) -> str:
    """What an error says, on one line, cut short, without secrets and without the SQL that it happened in."""
    said, _, _ = f"{type(error).__name__}: {error}".partition("[SQL:")
    return redact(" ".join(said.split()))[:400]
