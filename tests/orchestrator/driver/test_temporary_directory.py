"""Where Ray keeps its sockets: wherever a shell's TMPDIR points, there is a place whose names Linux takes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from orchestrator.driver.ray_session import LONGEST_TEMPORARY, temporary_directory
from tests.support.waiting import LIMIT_SECONDS


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose name is short enough; pytest's are not."""
    with TemporaryDirectory(dir="/tmp") as place:
        yield Path(place)


def test_tmpdir_is_used_where_it_serves(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(short))
    assert temporary_directory() == short


@pytest.mark.parametrize("case", ["gone", "a file", "long", "empty", "not ours"])
def test_a_tmpdir_that_does_not_serve_is_passed_over(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (long := tmp_path / ("d" * LONGEST_TEMPORARY)).mkdir()
    places = {
        "gone": "/nowhere",
        "a file": str(tmp_path / "file"),
        "long": str(long),
        "empty": "",
        "not ours": "/proc/self",
    }
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", places[case])
    assert temporary_directory() == Path("/tmp")


def test_what_was_asked_for_of_ray_wins(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(short))
    monkeypatch.setenv("RAY_TMPDIR", "/somewhere/else")
    assert temporary_directory() == Path("/somewhere/else")


def test_a_user_without_a_home_is_told_in_one_line() -> None:
    """As in a container that runs under a number, which no password file names."""
    program = (
        "import os, pwd; os.environ.pop('HOME', None); pwd.getpwuid = {}.__getitem__; import orchestrator.tracking"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (
        2, "error: HOME: not set, and this user has no entry in /etc/passwd; set it to a directory\n",
    )  # fmt: skip
