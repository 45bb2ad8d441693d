"""Where a sweep's store of MLflow is: MLflow itself, which takes seconds to import, is not needed to say it."""

import os
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import make_url

DATABASE = "mlflow.db"
"""The SQLite store's file in a storage directory."""


def default_uri(storage: Path) -> str:
    """MLFLOW_TRACKING_URI, as for any program of MLflow's, or the SQLite store in `storage`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(storage)


def sqlite_uri(storage: Path) -> str:
    """The tracking URI of the SQLite store in `storage`, whatever characters that has."""
    return uri_of(storage.resolve() / DATABASE)


def uri_of(path: Path) -> str:
    """The tracking URI of a SQLite file."""
    file = str(path)
    # MLflow makes the directory that the URI names before it is unquoted, unless the slashes are quoted too.
    return f"sqlite:///{file if quote(file) == file else quote(file, safe='')}"


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for other stores. Raises SQLAlchemy's ArgumentError for what is no URI."""
    if not uri.startswith("sqlite:"):
        return None
    return Path(make_url(uri).database or "")
