"""A table on the terminal, drawn anew in its place: a row for each trial that runs, and below what the sweep does."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.grid.plan import duration

SPACE = 2
"""Between columns."""
SHORTEST_NAME = 12
"""Letters of a trial's name that stay, however narrow the terminal is."""
BESIDE_ROWS = 5
"""Lines of the terminal for the header, what the sweep does, and the cursor."""


@dataclass(frozen=True)
class Row:
    """A trial that runs; None is what it has not said yet."""

    name: str
    step: int
    steps: int
    fvu: float | None
    """Of its latest batch."""
    tokens_per_second: float | None
    waiting_pct: float | None
    """Share of its time in which it waited for activations."""
    seconds_left: float | None


@dataclass(frozen=True)
class View:
    """What is drawn."""

    rows: Sequence[Row]
    lines: Sequence[str]
    """Of the whole sweep, below."""


COLUMNS = ("step", "left", "FVU", "tokens/s", "waiting")
"""Headers, those first that a narrow terminal keeps."""
SHOWN = ("step", "FVU", "tokens/s", "waiting", "left")
"""In their order from left to right."""


def _cells(row: Row) -> dict[str, str]:
    return {
        "step": f"{row.step}/{row.steps}",
        "FVU": _number(row.fvu, ".4f"),
        "tokens/s": _number(row.tokens_per_second, ",.0f"),
        "waiting": "-" if row.waiting_pct is None else f"{row.waiting_pct:.0f} %",
        "left": "-" if row.seconds_left is None else duration(row.seconds_left),
    }


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def draw(view: View, width: int, height: int) -> Group:
    """The table for a terminal of so many columns and lines: columns that do not fit are left out, as are rows."""
    fitting = max(height - BESIDE_ROWS - len(view.lines), 1)
    rows = view.rows if len(view.rows) <= fitting else view.rows[: fitting - 1]
    cells = [_cells(row) for row in rows]
    widths = {header: max(len(header), *(len(each[header]) for each in cells), 0) for header in COLUMNS}
    longest = max((len(row.name) for row in rows), default=SHORTEST_NAME)
    columns = list(COLUMNS)
    while len(columns) > 1 and longest + _needed(columns, widths) > width:
        columns.pop()
    table = Table(box=None, padding=(0, SPACE, 0, 0), pad_edge=False, header_style="bold")
    room = max(min(longest, width - _needed(columns, widths)), 1)
    table.add_column("trial", width=room, no_wrap=True, overflow="crop")
    headers = [header for header in SHOWN if header in columns]
    for header in headers:
        table.add_column(header, justify="right", width=widths[header], no_wrap=True, overflow="crop")
    for row, each in zip(rows, cells, strict=True):
        table.add_row(_cut(row.name, room), *(each[header] for header in headers))
    more = [f"and {len(view.rows) - len(rows)} more trials"] if len(rows) < len(view.rows) else []
    below = [Text(line, no_wrap=True, overflow="crop") for line in (*more, *view.lines)]
    return Group(*([table] if rows else []), *below)


def _needed(columns: Sequence[str], widths: dict[str, int]) -> int:
    """Letters that columns take beside the name."""
    return sum(SPACE + widths[header] for header in columns)


def _cut(name: str, room: int) -> str:
    """The end of a name, which tells trials apart."""
    return name if len(name) <= room else ".." + name[len(name) - max(room - 2, 0) :]


class LiveTable:
    """The table where standard error is a terminal; whatever else is written there meanwhile appears above it.

    A terminal that has gone away (OSError) ends it: nobody is there to see.
    """

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    @staticmethod
    def serves() -> bool:
        """Whether there is a terminal that can go back to a line it has written."""
        return sys.stderr.isatty() and not Console(file=sys.stderr).is_dumb_terminal

    def show(self, view: View) -> None:
        """Draw it anew."""
        try:
            self._live.start()
            self._live.update(draw(view, self._console.width, self._console.height), refresh=True)
        except OSError:
            self.close()

    def close(self) -> None:
        """Take it off the terminal."""
        try:
            self._live.stop()
        except OSError:
            return
