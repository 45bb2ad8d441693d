"""Keeping credentials out of logs, files and MLflow."""

import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

KEYS = (
    "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY",
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET",
    "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET",
)  # fmt: skip
"""Environment variables whose values nothing that is written may hold: libraries repeat headers in their errors."""
_SHORTEST = 8
"""Of a value that is looked for: a shorter one is a word of other texts."""
_USERINFO = re.compile(r'(?<=://)[^/?#\s"]*@')
_CLOSING_QUOTE = r"'[:;,.)\]]*(?:\s|$)"
_SECRET_PARAMETER = re.compile(
    rf"""([?&](?:\w*password|pwd|token|\w*secret|api_?key)=)(?:(?!{_CLOSING_QUOTE})[^&#\s"])*""", re.IGNORECASE
)


def redact(text: str) -> str:
    """The text without `user:password@` of any URI in it, secret query parameters and the values of `KEYS`."""
    return _without(_secrets(), text)


def redacted_json(content: object, default: Callable[[Any], object] | None = None) -> str:
    """`json.dumps`, with each text in `content` redacted before it is written.

    Afterwards it would be too late: escaped, a secret may not be found, and the backslash of an escape may go with it.
    """
    secrets = _secrets()
    return json.dumps(
        _texts_without(secrets, content), default=default and (lambda value: _texts_without(secrets, default(value)))
    )


class RedactingFormatter(logging.Formatter):
    """Formats as its parent does, tracebacks too, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The redacted lines of a record."""
        return redact(super().format(record))


def log_to_stderr() -> None:
    """For processes that Ray starts, whose lines it hands on as they are."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter(logging.BASIC_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def mistake_line(error: Exception) -> str:
    """What a command says of a user's mistake before it ends."""
    return f"error: {redact(' '.join(str(error).splitlines()))}\n"


def _secrets() -> list[str]:
    """Looked up at each use: an environment changes."""
    values = (os.environ.get(key, "").strip() for key in KEYS)
    return [value for value in values if len(value) >= _SHORTEST]


def _without(secrets: Sequence[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return _SECRET_PARAMETER.sub(r"\1***", _USERINFO.sub("", text))


def _texts_without(secrets: Sequence[str], content: object) -> object:
    """The same content with redacted texts; keys of objects are texts too."""
    if isinstance(content, str):
        return _without(secrets, content)
    if isinstance(content, Mapping):
        return {_texts_without(secrets, key): _texts_without(secrets, value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_texts_without(secrets, value) for value in content]
    return content
