"""What is said of time left is read as it is printed, and held against what was left."""

from pathlib import Path

import pytest

from benchmarks.time_left import main, seconds_said

LOG = """
16:00:00 preset auto: taking laptop, for this machine with 2 CPU cores and no GPUs
time: about 1:40, 0:30 of which to score, at 1325 GFLOP/s per trial
16:00:20 trials 0/8 done, 2 running | steps 4/760 | shards 3/14 | {left} left
16:00:30 trial packaged-layers.10-mp-k16-ef8-s0: held-out FVU 0.3272
16:01:35 scored 7/8 trials | 9:59 left
"""


@pytest.mark.parametrize(("left", "status"), [("1:20", 0), ("1:03", 0), ("1:50", 1), ("0:50", 1)])
def test_lines_that_are_far_off_are_counted(
    left: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_text(LOG.format(left=left), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["time_left", "--log", str(log), "--seconds", "100"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    said = capsys.readouterr().out
    assert f"of 1 lines that count {status} are beyond 30%" in said  # neither the plan's nor that of the last seconds
    assert len([line for line in said.splitlines() if line.startswith("| ")]) == 4


@pytest.mark.parametrize(("text", "seconds"), [("x | 0:00 left", 0), ("x | 1:02:03 left", 3723), ("2:00 so far", None)])
def test_a_line_is_read(text: str, seconds: float | None) -> None:
    assert seconds_said(text) == seconds
