"""Credentials in texts."""

import json
from datetime import date
from pathlib import Path

import pytest

from orchestrator.redaction import KEYS, redact, redacted_json
from orchestrator.tracking.journal import Journal, read_entries
from orchestrator.trials.results import keep_result, result_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:pass@host:5000/x", "http://host:5000/x"),
        ("https://token@host", "https://host"),
        ("http://user:p@ss@host/", "http://host/"),
        ("postgresql://u:p@db/mlflow?sslmode=require", "postgresql://db/mlflow?sslmode=require"),
        ("postgresql://db/mlflow?user=u&password=p", "postgresql://db/mlflow?user=u&password=***"),
        ("uri 'http://h/?token=o'clock': is not 'x'", "uri 'http://h/?token=***': is not 'x'"),
        ("no answer ('http://h/?token=t').", "no answer ('http://h/?token=***')."),
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


@pytest.mark.parametrize(
    ("failure", "kept"),
    [
        ('GET "https://hub/x?token=abc" refused', 'GET "https://hub/x?token=***" refused'),
        ("GET https://hub/x?token=abc\nrefused", "GET https://hub/x?token=***\nrefused"),
        ("see C:\\new or http://u:p@host\\x", "see C:\\new or http://host\\x"),
    ],
    ids=["quotes", "line", "backslash"],
)
def test_a_failure_with_a_secret_address_is_kept_whole_but_for_it(failure: str, kept: str, tmp_path: Path) -> None:
    keep_result(tmp_path, {"failure": failure})
    assert result_of(tmp_path) == {"failure": kept}
    Journal(tmp_path).append("end", "t", status="FAILED", failure=failure)
    *_, entry = read_entries(tmp_path)
    assert (entry["op"], entry.get("failure")) == ("end", kept)


@pytest.mark.parametrize("key", ['with"quotes"', "with\\backslash", "with-ü-and-é", "with\tits-tab"])
def test_a_key_that_json_escapes_is_blanked(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", key)
    keep_result(tmp_path, {"failure": f"401 with {key}"})
    assert result_of(tmp_path) == {"failure": "401 with ***"}
    Journal(tmp_path).append(
        "start", None, params={"a": key}, tags={f"of {key}": "b"}, config={"c": [1, (key, {"d": Path(key)})]}
    )
    *_, entry = read_entries(tmp_path)
    assert {name: entry[name] for name in ("params", "tags", "config")} == {
        "params": {"a": "***"}, "tags": {"of ***": "b"}, "config": {"c": [1, ["***", {"d": "***"}]]},
    }  # fmt: skip


def test_json_without_secrets_is_as_ever() -> None:
    content = {"a": [1, 2.5, True, None, float("inf"), "é"], "b": {"c": (), "d": {}}, 3: "e", None: "f"}
    assert redacted_json(content) == json.dumps(content)
    assert redacted_json([date(2026, 1, 2)], default=str) == '["2026-01-02"]'
    with pytest.raises(TypeError, match="date is not JSON serializable"):
        redacted_json(date(2026, 1, 2))
