"""Keeping credentials out of logs, files and MLflow."""

import os
import re

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
_SECRET_PARAMETER = re.compile(r'([?&](?:\w*password|pwd|token|\w*secret|api_?key)=)[^&#\s"]*', re.IGNORECASE)


def redact(text: str) -> str:
    """The text without `user:password@` of any URI in it, secret query parameters and the values of `KEYS`."""
    for key in filter(None, map(os.environ.get, KEYS)):
        if len(value := key.strip()) >= _SHORTEST:
            text = text.replace(value, "***")
    return _SECRET_PARAMETER.sub(r"\1***", _USERINFO.sub("", text))
