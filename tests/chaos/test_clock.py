"""The machine's clock is set back while a sweep trains."""

from pathlib import Path

import pytest

from tests.chaos.disturbed import Sweep
from tests.support.sweeps import finished, runs_of

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not LIBRARIES, reason="Debian's faketime is missing: apt-get install faketime"),
]


def test_a_clock_that_is_set_back_changes_nothing(undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    """By a day, for every process of the sweep; the clock that only runs forward stays as the kernel has it."""
    clock = tmp_path / "clock"
    clock.write_text("+0", encoding="utf-8")
    sweep = Sweep(
        tiny_model, tmp_path, "clock", LD_PRELOAD=str(LIBRARIES[-1]), FAKETIME_TIMESTAMP_FILE=str(clock),
        FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1", NO_FAKE_STAT="1",
    )  # fmt: skip
    sweep.start()
    sweep.until(lambda: bool(finished(sweep.directory)))
    clock.write_text("-1d", encoding="utf-8")
    sweep.end(0)
    sweep.check(undisturbed)
    for run in runs_of(tmp_path, "clock"):
        assert run.info.start_time <= run.info.end_time
        # Two trials run at a time: those that began after the change must not have begun before the sweep.
    times = [run.info.start_time for run in runs_of(tmp_path, "clock")]
    assert max(times) - min(times) < 3_600_000
