"""A saved config whose values are of other types than its fields: the line that says which."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.claims import saved_config
from orchestrator.errors import UserError
from orchestrator.grid.config import SweepConfig
from orchestrator.toy.config import ToyConfig

WRONG = [
    ("k", 4, "must be a list, each of it a whole number below 2**63"),
    ("k", ["4"], "must be a list, each of it a whole number below 2**63"),
    ("k", [True], "must be a list, each of it a whole number below 2**63"),
    ("seed", [10**30], "must be a list, each of it a whole number below 2**63"),
    ("variant", "mp", "must be a list, each of it a text"),
    ("train_tokens", 0.5, "must be a whole number below 2**63"),
    ("train_tokens", 10**400, "must be a whole number below 2**63"),
    ("auxk_alpha", None, "must be a number"),
    ("auxk_alpha", float("nan"), "must be a number"),
    ("auxk_alpha", 10**400, "must be a number"),
    ("log_every", "3", "must be a whole number below 2**63 or null"),
    ("streaming", 1, "must be true or false"),
    ("storage", "", "must be a text"),
    ("cache_dir", [""], "must be a text or null"),
    ("shard_dtype", {"a": []}, "must be a text"),
    ("dataset", None, "must be a text"),
]


@pytest.mark.parametrize(
    ("field", "value", "allowed"), WRONG, ids=[f"{field} {value!s:.9}" for field, value, _ in WRONG]
)
def test_a_value_of_another_type_is_named(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(UserError) as raised:
        SweepConfig.from_json(json.dumps(SweepConfig().to_json() | {field: value}))
    assert str(raised.value).startswith(f"{field} {repr(value)[:60]}")
    assert str(raised.value).endswith(f" in sweep.json: {allowed}")
    assert len(str(raised.value)) < 200


def test_what_was_written_by_hand_is_read() -> None:
    cfg = SweepConfig.from_json('{"auxk_alpha": 1, "k": [4, 8], "massive_multiple": Infinity, "cache_dir": null}')
    assert (cfg.auxk_alpha, type(cfg.auxk_alpha), cfg.k, cfg.massive_multiple) == (1.0, float, (4, 8), float("inf"))
    assert ToyConfig.from_json('{"centre": false, "storage": "a"}').storage == Path("a")


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"[" * 100_000, b'{"k":' * 100_000], ids=["no text", "deep", "open"])
def test_a_damaged_config_is_a_line_and_no_traceback(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "sweep.json").write_bytes(content)
    with pytest.raises(UserError, match=r"^sweep\.json: is damaged \(.*\); this sweep cannot be resumed without it$"):
        SweepConfig.from_json(saved_config(tmp_path, "a"))
