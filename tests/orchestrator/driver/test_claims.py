"""Whose a sweep's directory is: taken as a whole or not at all, and one process at a time inside."""

import itertools
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from orchestrator.driver import claims
from orchestrator.driver.claims import directory_of, locked
from orchestrator.errors import UserError
from orchestrator.grid.config import SweepConfig
from tests.support.configs import small

pytestmark = pytest.mark.sweep


def test_a_sweep_runs_once_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match="is running already"), locked(tmp_path):
        pass


def test_a_signal_at_any_line_leaves_nothing_and_what_is_anothers_stays(tmp_path: Path) -> None:
    """A name is free after a sweep that was ended while it took it, wherever it was."""
    for line in itertools.count(1):
        storage = tmp_path / str(line)
        other = storage / "other"
        other.mkdir(parents=True)
        cfg = small(storage=storage, name="mine")
        if interrupted_at(line, cfg) is None:
            break
        assert list(storage.iterdir()) == [other], f"line {line}"
    assert line > 15
    assert [path.name for path in (storage / "mine").iterdir()] == ["sweep.json"]
    with pytest.raises(UserError, match=r"^name 'mine': exists in .*continue it with"), directory_of(cfg, None):
        pytest.fail("it is taken")
    assert (storage / "mine" / "sweep.json").is_file()
    assert sorted(path.name for path in storage.iterdir()) == ["mine", "other"]


def interrupted_at(number: int, cfg: SweepConfig) -> KeyboardInterrupt | None:
    """Take a sweep's name, with an interruption at so many lines of the module; None where it had fewer."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        if frame.f_code.co_filename != claims.__file__:
            return None
        count += event == "line"
        if event == "line" and count == number:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with directory_of(cfg, None):
            pass
    except KeyboardInterrupt as interruption:
        return interruption
    finally:
        sys.settrace(before)
    return None
