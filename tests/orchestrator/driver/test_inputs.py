"""What a resumed sweep must find unchanged."""

from pathlib import Path

import pytest

from orchestrator.driver.inputs import check_inputs
from orchestrator.errors import UserError

pytestmark = pytest.mark.sweep


def test_a_resumed_sweep_must_find_its_model_and_tokens_unchanged(tmp_path: Path) -> None:
    directory = tmp_path / "name"
    directory.mkdir()
    before = {"m": {"model.fingerprint": "a", "tokens.fingerprint": "b"}}
    check_inputs(directory, before)
    check_inputs(directory, before)
    with pytest.raises(UserError, match=r"^resume 'name': the tokens of m changed"):
        check_inputs(directory, {"m": {"model.fingerprint": "a", "tokens.fingerprint": "c"}})
