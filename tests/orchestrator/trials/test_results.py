"""Results and scores of other types than this package writes: one line that says what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import atomic
from orchestrator.driver.inputs import INPUTS_FILE, check_inputs
from orchestrator.errors import UserError
from orchestrator.trials.results import keep_result, keep_scores, result_of, scores_of

RESULT = {"step": 3, "val/fvu": 0.5, "l0": float("nan"), "excluded_first_tokens": 3}
SCORES = {"metrics": {"a": 0.5}, "times": 1, "firing_rates": [0.5]}


def test_what_was_kept_is_read(tmp_path: Path) -> None:
    keep_result(tmp_path, {"failure": "NaN"})
    assert result_of(tmp_path) == {"failure": "NaN"}
    keep_result(tmp_path, RESULT)
    keep_scores(tmp_path, SCORES)
    assert str(result_of(tmp_path)) == str(RESULT)
    assert scores_of(tmp_path) == SCORES


@pytest.mark.parametrize(
    "wrong",
    [{"failure": None}, {"failure": ["a"]}, {"step": -1}, {"step": True}, {"step": None}, {"val/fvu": "0.5"},
     {"val/fvu": None}, {"l0": []}, {"l0": 10**400}, {"l0": {}}],
    ids=str,
)  # fmt: skip
def test_a_result_of_other_types_is_damaged(wrong: dict[str, Any], tmp_path: Path) -> None:
    keep_result(tmp_path, RESULT | wrong)
    with pytest.raises(UserError, match=r"result\.json: is damaged \(it.*\); remove it, and it is made again$"):
        result_of(tmp_path)


@pytest.mark.parametrize("missing", ["step", "val/fvu"])
def test_a_result_without_its_numbers_is_damaged(missing: str, tmp_path: Path) -> None:
    keep_result(tmp_path, {name: value for name, value in RESULT.items() if name != missing})
    with pytest.raises(UserError, match=r"result\.json: is damaged \(it has no step, no val/fvu, or "):
        result_of(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"metrics": []}, {"metrics": {"a": "b"}}, {"metrics": None}, {"times": "1"}], ids=str
)
def test_scores_of_other_types_are_damaged(wrong: dict[str, Any], tmp_path: Path) -> None:
    keep_scores(tmp_path, SCORES | wrong)
    with pytest.raises(
        UserError, match=r"scores\.json: is damaged \(it has no times, or metrics that are no numbers\)"
    ):
        scores_of(tmp_path)


@pytest.mark.parametrize("said", ["a", [], None, 3])
def test_inputs_of_other_types_are_a_change(said: Any, tmp_path: Path) -> None:
    (tmp_path / INPUTS_FILE).write_text(json.dumps({"m": said}), encoding="utf-8")
    with pytest.raises(UserError, match=r"the model of m changed since the sweep began"):
        check_inputs(tmp_path, {"m": {"model.fingerprint": "a"}})


def test_inputs_are_there_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Path, text: str, encoding: str) -> None:
        self.write_bytes(text.encode(encoding)[:5])
        raise OSError("no room")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no room"):
        check_inputs(tmp_path, {"m": {"model.fingerprint": "a"}})
    assert not list(tmp_path.iterdir())


def test_what_ends_a_trial_is_on_the_disk_before_and_after_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power failure leaves the name and nothing under it."""
    synced = []

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.name[: len(".result.json")], (tmp_path / "result.json").exists()))

    monkeypatch.setattr(atomic.os, "fsync", note)
    keep_result(tmp_path, RESULT)
    assert synced == [(".result.json", False), (tmp_path.name[: len(".result.json")], True)]
