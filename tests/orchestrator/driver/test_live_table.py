"""The table on real terminals: what is seen while it is there, and what is left when it has gone."""

import sys

import pytest
from rich.console import Console

from orchestrator.driver.live_table import COLUMNS, Row, View, draw
from tests.support.terminal import Screen, on_a_terminal

NAME = "packaged-layers.10.mlp-mp-k64-ef8-s"
BELOW = ("shards 9/14 | store 0.35 GB", "trials 2/8 done, 2 running | steps 212/760 | 1:40 so far | 3:05 left")


def view(rows: int = 2) -> View:
    first = Row(f"{NAME}0", 7, 95, 0.51234, 1234.5, 41.6, 185.2)
    return View([first, *(Row(f"{NAME}{seed}", 0, 95, None, None, None, None) for seed in range(1, rows))], BELOW)


def drawn(view: View, width: int, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, force_terminal=False)
    with console.capture() as capture:
        console.print(draw(view, width, height))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_row_says_all_there_is() -> None:
    header, row, young, *below = drawn(view(), 120)
    assert header.split() == ["trial", "step", "FVU", "tokens/s", "waiting", "left"]
    assert row.split() == [f"{NAME}0", "7/95", "0.5123", "1,234", "42", "%", "3:05"]
    assert young.split() == [f"{NAME}1", "0/95", "-", "-", "-", "-"]
    assert tuple(below) == BELOW


@pytest.mark.parametrize("width", [1, 5, 20, 40, 60, 70, 80, 200])
def test_nothing_wraps_however_narrow_it_is(width: int) -> None:
    found = drawn(view(), width)
    assert len(found) == 3 + len(BELOW)
    assert max(map(len, found)) <= width


def test_a_narrow_terminal_keeps_the_end_of_names_and_the_first_columns() -> None:
    header, row, *_ = drawn(view(), 60)
    assert header.split() == ["trial", "step", "FVU", "left"]
    assert row.split()[0] == f"{NAME}0"
    header, row, *_ = drawn(view(), 40)
    assert header.split() == ["trial", COLUMNS[0]]
    assert row.split()[0].endswith(f"{NAME}0"[-20:])
    _, row, *_ = drawn(view(), 30)
    assert row.startswith("..") and row.split()[0].endswith("mp-k64-ef8-s0")


def test_more_trials_than_lines() -> None:
    found = drawn(view(100), 100, 12)
    assert len(found) < 12
    assert f"and {100 - (len(found) - 2 - len(BELOW))} more trials" in found
    assert found[-1] == BELOW[-1]


BEGIN = """
import logging, signal, sys
from orchestrator.driver.live_table import LiveTable
from orchestrator.driver.script import exit_status
from tests.orchestrator.driver.test_live_table import view
log = logging.getLogger("orchestrator.example")

def script(interruption):
    table = LiveTable()
    try:
        table.show(view())
        log.info("trial %s: held-out FVU %.4f", "first", 0.5)
        table.show(view(3))
        log.warning("something that is as long as warnings are, and takes more than one line of this terminal")
        table.show(view(2))
        {end}
    finally:
        table.close()
    log.info("after it")
    return 0

assert LiveTable.serves()
sys.exit(exit_status(script))
"""  # fmt: skip


@pytest.mark.parametrize(
    ("end", "status", "last"),
    [
        ("pass", 0, "after it"),
        ("signal.raise_signal(signal.SIGTERM)", 143, "interrupted; nothing had begun"),
        ("raise ValueError('of its own')", 1, "ValueError: of its own"),
    ],
    ids=["end", "SIGTERM", "error"],
)
def test_lines_stay_above_and_nothing_is_left_of_the_table(end: str, status: int, last: str) -> None:
    found, _, written = on_a_terminal([sys.executable, "-c", BEGIN.replace("{end}", end)], 60)
    screen = Screen(60).feed(written)
    assert found == status, screen.lines
    assert BELOW[0] in written and screen.cursor_shown and screen.widest <= 60
    lines = [line for line in screen.lines if line]
    assert lines[0].endswith(" trial first: held-out FVU 0.5000")
    assert " ".join(lines[1:3]).endswith("and takes more than one line of this terminal")
    assert lines[-1].endswith(last)
    assert not [line for line in lines if "tokens/s" in line or "shards" in line or line.startswith(NAME)]


@pytest.mark.parametrize("terminal", ["dumb", "pipe"])
def test_elsewhere_there_is_no_table(terminal: str) -> None:
    program = "from orchestrator.driver.live_table import LiveTable; print(LiveTable.serves())"
    command = [sys.executable, "-c", program]
    words = command if terminal == "dumb" else ["sh", "-c", '"$@" 2>&1 | cat', "sh", *command]
    _, said, _ = on_a_terminal(words, 80, environment={"TERM": terminal, "FORCE_COLOR": "1"})
    assert said == "False\n"
