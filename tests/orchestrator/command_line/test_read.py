"""Reading a command line, its help, and a reader who leaves."""

import datetime
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.command_line.read import read
from orchestrator.driver.cli import main
from orchestrator.errors import UserError
from orchestrator.toy import run as toy
from sweeps import smollm_grid, toy_hierarchy
from tests.support.waiting import LIMIT_SECONDS

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True)
class Dated:
    """A field of a kind that words are not asked about."""

    day: datetime.date = datetime.date(2026, 1, 1)


def test_what_only_the_parser_refuses_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert read(Dated, ["--day", "2026-02-03"], "").day == datetime.date(2026, 2, 3)
    with pytest.raises(UserError, match=r"^'--day tomorrow': cannot be read; --help says what each flag takes$"):
        read(Dated, ["--day", "tomorrow"], "")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "words",
    ["--help", "-h", "--k --help", "--bogus --help", "--preset nope -h", "--preset paper --help", "--resume x --help"],
)
def test_help_is_given_whatever_else_is_wrong(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main("What is asked?", "smollm_grid", smollm_grid.PRESETS, words.split())
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "What is asked?" in printed
    assert ("fineweb" in printed) == ("paper" in words), "defaults are those of the preset"


def _help(capsys: pytest.CaptureFixture[str]) -> str:
    return "".join(capsys.readouterr().out.replace("│", "").split())


def test_help_lists_the_variants(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main("", "smollm_grid", smollm_grid.PRESETS, ["--help"])
    everything = _help(capsys)
    with pytest.raises(SystemExit):
        toy.main("", "toy_hierarchy", toy_hierarchy.PRESETS, ["--help"])
    autoencoders = _help(capsys)
    for variant in ("topk", "mp", "mp-tied", "mp-sliced", "mp-big-decoder", "ito", "omp"):
        assert f",{variant}," in everything.replace(":", ",")
        assert variant in autoencoders
    assert ",sst,mp-transcoder,mp-transcoder-free-encoder," in everything
    assert ",sst" not in autoencoders


@pytest.mark.parametrize("flag", ["--help", "--plan"])
def test_a_reader_may_leave(flag: str, tmp_path: Path) -> None:
    script = ROOT / "sweeps" / "toy_hierarchy.py"
    command = [sys.executable, str(script), flag, "--preset", "paper", "--storage", str(tmp_path / "none")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(timeout=LIMIT_SECONDS) == 0
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
