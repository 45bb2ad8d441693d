"""Credentials in texts."""

import pytest

from orchestrator.redaction import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:pass@host:5000/x", "http://host:5000/x"),
        ("https://token@host", "https://host"),
        ("http://user:p@ss@host/", "http://host/"),
        ("postgresql://u:p@db/mlflow?sslmode=require", "postgresql://db/mlflow?sslmode=require"),
        ("postgresql://db/mlflow?user=u&password=p", "postgresql://db/mlflow?user=u&password=***"),
        ("failed: http://u:p@a, then http://u:p@b", "failed: http://a, then http://b"),
        ("http://host/path@rev", "http://host/path@rev"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(redact(text)) == expected
