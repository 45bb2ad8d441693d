"""Each mistake is answered by one line, before any work starts, and leaves nothing behind."""

import re
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.driver.cli import main
from sweeps.smollm_grid import PRESETS
from tests.messages import models, names, platform, text, typed
from tests.messages.mistakes import Place, command_line

KINDS = [models, names, platform, text, typed]
MISTAKES = {name: found for kind in KINDS for name, found in kind.MISTAKES.items()}


def test_no_two_mistakes_have_one_name() -> None:
    assert len(MISTAKES) == sum(len(kind.MISTAKES) for kind in KINDS)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_by_one_line(
    name: str,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with ExitStack() as undo:
        place = Place(tmp_path, tiny_model, monkeypatch, undo)
        arguments = command_line(MISTAKES[name].flags(place), place)
        status = main("", "smollm_grid", PRESETS, arguments)
    said = capfd.readouterr().err.splitlines()
    sys.stdout.write("\n".join(said) + "\n")
    assert status == 2
    assert [line for line in said if line.startswith("error: ")] == said[-1:], "one line, and the last"
    assert "Traceback (most recent call last):" not in said
    assert re.fullmatch(f"error: {MISTAKES[name].says}", said[-1])
    assert not (tmp_path / "runs" / "mistaken").exists(), "the name is free again"
