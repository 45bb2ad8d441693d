"""What a resumed sweep must find unchanged."""

import logging
from pathlib import Path

import pytest

from orchestrator.driver.inputs import check_inputs, inputs_of
from orchestrator.errors import UserError
from orchestrator.grid.config import SweepConfig

pytestmark = pytest.mark.sweep


def test_a_resumed_sweep_must_find_its_model_and_tokens_unchanged(tmp_path: Path) -> None:
    directory = tmp_path / "name"
    directory.mkdir()
    before = {"m": {"model.fingerprint": "a", "tokens.fingerprint": "b"}}
    check_inputs(directory, before)
    check_inputs(directory, before)
    with pytest.raises(UserError, match=r"^resume 'name': the tokens of m changed"):
        check_inputs(directory, {"m": {"model.fingerprint": "a", "tokens.fingerprint": "c"}})


def test_a_person_is_told_how_a_text_is_cut(tmp_path: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_text(
        "\n\n".join(f"Document {i} has words of its own." for i in range(300)), encoding="utf-8"
    )
    cfg = SweepConfig(
        model=(str(tiny_model),), dataset=str(tmp_path / "a.txt"), context_length=16, train_tokens=160, val_tokens=32,
        shard_tokens=16, batch_tokens=16, warmup_steps=1, storage=tmp_path,
    )  # fmt: skip
    with caplog.at_level(logging.INFO):
        inputs_of(cfg, str(tiny_model))
    assert "a.txt (a .txt, cut into documents at empty lines, so parts of one text may be on both" in caplog.text
