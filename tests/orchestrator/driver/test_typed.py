"""What a plan answers to what was typed."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.driver.cli import main
from sweeps.smollm_grid import PRESETS
from tests.messages.mistakes import Place, command_line


def plan(place: Place, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main("", "smollm_grid", PRESETS, command_line(["--plan", *words], place)) == 0
    return capsys.readouterr().out.splitlines()


def test_a_plan_says_what_each_pattern_meant(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, tiny_model, monkeypatch, ExitStack())
    lines = plan(place, capsys, "--hookpoint", "layers.*", "norm", "layers.[02].mlp")
    assert [line for line in lines if line.startswith("hookpoint")] == [
        "hookpoint 'layers.*': 52 modules, since * crosses dots; 4 of them at its own depth: --hookpoint 'layers.?'",
        "hookpoint 'layers.[02].mlp': 2 modules",
    ]
    assert any(line.startswith("53 trials") for line in lines)


def test_a_plan_says_it_of_each_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, tiny_model, monkeypatch, ExitStack())
    lines = plan(place, capsys, "--model", str(tiny_model), "packaged", "--hookpoint", "layers.?")
    assert "packaged: hookpoint 'layers.?': 10 modules" in lines
    assert f"{tiny_model}: hookpoint 'layers.?': 4 modules" in lines
