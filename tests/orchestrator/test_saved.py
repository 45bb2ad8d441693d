"""Files that an earlier run left, damaged: one line that says which, and what to do."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.driver.inputs import INPUTS_FILE, check_inputs
from orchestrator.driver.report import add_counters
from orchestrator.errors import UserError
from orchestrator.grid.config import SweepConfig
from orchestrator.language_models.loading import load_tokenizer
from orchestrator.saved import read_json
from orchestrator.text.config import TextConfig
from orchestrator.text.token_blocks import TokenBlocks, tokenise
from orchestrator.tracking.tracker import Tracker
from orchestrator.trials.results import result_of

DAMAGED = {"empty": b"", "half": b'{"a": 1, ', "list": b"[]", "text": b"words", "no text": b"\xff\xfe\x00"}


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_json_is_one_line_with_what_to_do(how: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(DAMAGED[how])
    with pytest.raises(UserError, match=r"a\.json: is damaged \(.*\); do this$") as raised:
        read_json(path, "do this")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("how", [*DAMAGED, "{}"])
def test_a_damaged_result_is_none_of_a_trial(how: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(DAMAGED.get(how, b"{}"))
    with pytest.raises(UserError, match=r"result\.json: is damaged .*; remove it, and it is made again"):
        result_of(tmp_path)


def test_a_damaged_config_inputs_or_counters_are_named(tmp_path: Path) -> None:
    for text in ("", "[]", '{"k": '):
        with pytest.raises(UserError, match=r"sweep\.json: is damaged"):
            SweepConfig.from_json(text)
    (tmp_path / INPUTS_FILE).write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=rf"{INPUTS_FILE}: is damaged"):
        check_inputs(tmp_path, {"packaged": {"model.fingerprint": "a"}})
    (tmp_path / "counters.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"counters\.json: is damaged"):
        add_counters(tmp_path / "counters.json", {})


@pytest.mark.parametrize(("file", "keep"), [("tokens.json", 0), ("train.npy", 0), ("train.npy", 200), ("val.npy", 50)])
def test_damaged_tokens_are_named(file: str, keep: int, tmp_path: Path) -> None:
    tokenizer = load_tokenizer("packaged")

    def tokens() -> TokenBlocks:
        return tokenise(
            TextConfig(dataset="python-docs"), tokenizer, context_length=16, train_tokens=800, val_tokens=160,
            out_dir=tmp_path,
        )  # fmt: skip

    before = tokens()
    (directory,) = tmp_path.glob("tokens-*")
    damaged = directory / file
    content = damaged.read_bytes()[:keep]
    damaged.unlink()  # the blocks above are mapped from it
    damaged.write_bytes(content)
    with pytest.raises(UserError, match=rf"damaged .*; remove {directory}, and the text is tokenised again"):
        tokens()
    shutil.rmtree(directory)
    assert np.array_equal(tokens().train, before.train)


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 10)
    with pytest.raises(UserError, match=r"mlflow\.db is no SQLite database; move it away"):
        Tracker(None, "e", "s", tmp_path, tmp_path / "journal")
    assert not (tmp_path / "journal").exists()


def test_a_state_that_is_no_state_sends_everything_again(storage: Path) -> None:
    for content in ("[]", "", '{"offset": '):
        journal: Any = storage / "journal"
        tracker = Tracker(None, "e", "s", storage, journal)
        tracker.start_sweep({}, {}, {})
        assert tracker.finish() == 0
        (journal / "state.json").write_text(content, encoding="utf-8")
