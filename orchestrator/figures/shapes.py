"""What a figure is made of, before anything draws it."""

import math
import sys
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.figures.colours import Look

WIDTH = 2.0
"""Of a line, in the dots of a screen."""
WIDER = 2.0
"""By how much the one that lies below a line is wider, so that it shows on both sides."""
NEAR = 0.01
"""Of what an axis spans: lines closer than that lie on each other."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One variant's values; with several seeds their means, and between which values they lie."""

    name: str
    look: Look
    x: tuple[float, ...]
    y: tuple[float, ...]
    band: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Lowest and highest."""
    labels: tuple[str, ...] = ()
    """Written beside the points."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One variant's value; with several seeds their mean, the lowest and the highest."""

    name: str
    look: Look
    value: float
    spread: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Lines over an x axis, or horizontal bars."""

    title: str
    xlabel: str
    ylabel: str
    lines: tuple[Line, ...] = ()
    bars: tuple[Bar, ...] = ()
    log2_ticks: tuple[int, ...] = ()
    """Where given, the x axis is logarithmic and has these ticks alone."""
    x_from_zero: bool = False
    y_log: bool = False
    y_at_least: float = 0.0
    """Where given, the y axis runs from 0 to this or beyond."""
    markers: bool = True
    """At every point; otherwise at some, which is enough to tell curves apart."""

    @property
    def y_range(self) -> tuple[float, float]:
        """From 0 to where everything has room."""
        highest = [y for line in self.lines for y in (*line.y, *(line.band[1] if line.band else ()))]
        return 0.0, max(self.y_at_least, 1.05 * max(highest))

    @property
    def widths(self) -> tuple[float, ...]:
        """Of the lines, which are drawn in their order: one with others on it is wider than they, so none is hidden."""
        heights = [self._height(y) for line in self.lines for y in line.y]
        near = max(NEAR * (max(heights) - min(heights)), sys.float_info.min)
        found: list[float] = []
        for index in reversed(range(len(self.lines))):
            above = zip(self.lines[index + 1 :], found, strict=True)
            meeting = [width for other, width in above if self._meet(self.lines[index], other, near)]
            found.insert(0, max(meeting, default=WIDTH - WIDER) + WIDER)
        return tuple(found)

    def _height(self, y: float) -> float:
        return math.log(max(y, sys.float_info.min)) if self.y_log else y

    def _meet(self, one: Line, other: Line, near: float) -> bool:
        """Whether they lie on each other over a stretch, or all of their only point."""
        heights = {x: self._height(y) for x, y in zip(other.x, other.y, strict=True)}
        close = [abs(self._height(y) - heights[x]) <= near for x, y in zip(one.x, one.y, strict=True) if x in heights]
        return close == [True] or any(first and second for first, second in pairwise(close))


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Panels side by side, `columns` to a row where there is room."""

    name: str
    title: str
    about: str
    """What the values are means of, and what is missing."""
    variants: tuple[str, ...]
    """In the order of legends; as bars, each has the same place in every panel."""
    panels: tuple[Panel, ...]
    columns: int

    @property
    def looks(self) -> dict[str, Look]:
        """Of each variant, as it is drawn."""
        drawn = {line.name: line.look for panel in self.panels for line in panel.lines}
        drawn |= {bar.name: bar.look for panel in self.panels for bar in panel.bars}
        return {name: drawn[name] for name in self.variants}

    @property
    def rows(self) -> int:
        """How many rows the panels fill."""
        return math.ceil(len(self.panels) / self.columns)

    @property
    def title_lines(self) -> int:
        """Of the panel that has most."""
        return max(panel.title.count("\n") for panel in self.panels) + 1
