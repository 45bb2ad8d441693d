"""The machine's clock is set back while a sweep trains."""

import struct
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.chaos.disturbed import Sweep
from tests.support.sweeps import finished, runs_of

pytestmark = pytest.mark.chaos
DAY = 86_400


def set_clock(file: Path, seconds: int) -> None:
    """In place: it is mapped by every process of the sweep."""
    with file.open("r+b" if file.exists() else "wb") as clock:
        clock.write(struct.pack("=q", seconds))


def test_a_clock_that_is_set_back_changes_nothing(undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    """By a day, for every process of the sweep at once, and it stays so."""
    library, clock = tmp_path / "shifted_clock.so", tmp_path / "offset"
    source = Path(__file__).with_name("shifted_clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source], check=True)
    set_clock(clock, 0)
    sweep = Sweep(tiny_model, tmp_path, "clock", LD_PRELOAD=str(library), SHIFTED_CLOCK=str(clock)).start()
    sweep.until(lambda: bool(finished(sweep.directory)))
    set_clock(clock, -DAY)
    sweep.end(0)
    sweep.check(undisturbed)

    runs = runs_of(tmp_path, "clock")
    first = min(run.info.start_time for run in runs)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for run in runs:
        assert first <= run.info.start_time <= run.info.end_time < first + 1000 * DAY
        points = [point for key in run.data.metrics for point in client.get_metric_history(run.info.run_id, key)]
        assert min((point.timestamp for point in points), default=first) >= first
