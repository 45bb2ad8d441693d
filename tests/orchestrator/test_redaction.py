"""Credentials in texts."""

from pathlib import Path

import pytest

from orchestrator.redaction import KEYS, redact
from orchestrator.tracking.journal import Journal
from orchestrator.trials.results import keep_result, result_of


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


@pytest.mark.parametrize("name", KEYS)
def test_the_value_of_a_key_is_blanked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, " 0123-canary\n")
    assert redact("Illegal header value b'Bearer 0123-canary\\n'") == "Illegal header value b'Bearer ***\\n'"
    monkeypatch.setenv(name, "word")
    assert redact("a word") == "a word", "no key, and every text would be full of stars"


def test_a_failure_that_repeats_a_key_is_kept_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hub-canary-0123")
    keep_result(tmp_path, {"failure": "HTTPError: 401 with Bearer hub-canary-0123"})
    assert result_of(tmp_path) == {"failure": "HTTPError: 401 with Bearer ***"}
    Journal(tmp_path).append("end", "t", status="FAILED", failure="HTTPError: Bearer hub-canary-0123")
    assert not [path for path in tmp_path.iterdir() if b"canary" in path.read_bytes()]
