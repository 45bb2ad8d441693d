"""Time against k and M for all contestants."""

from pathlib import Path
from typing import Any

from benchmarks.presets import Axis, Preset
from benchmarks.problem import Case
from benchmarks.report import TABLES, median, rows_at
from benchmarks.worker import CONTESTANTS

Curves = dict[str, list[tuple[int, float]]]
"""Points of each contestant."""
PANEL = (7.0, 4.6)
"""Inches."""


def longest_line(cases: tuple[Case, ...], letter: str) -> tuple[Case, ...]:
    """The most cases that differ in one letter only."""
    lines = [Axis(letter, "", tuple(b for b in cases if _others(b, letter) == _others(a, letter))) for a in cases]
    longest = max(lines, key=lambda line: len(line.cases), default=Axis(letter, "", ()))
    return tuple(sorted(longest.cases, key=longest.size))


def _others(case: Case, letter: str) -> str:
    sizes = {"B": case.tokens, "M": case.latents, "k": case.k}
    return ", ".join(f"{name} = {size:,}" for name, size in sizes.items() if name != letter)


def panels(results: dict[str, Any], preset: Preset) -> dict[tuple[str, str], Curves]:
    """Each panel's curves by its title and letter; none where nothing was measured along a line."""
    lines = [
        (title, Axis(letter, name, longest_line(preset.cases, letter)))
        for title, (operations, _) in TABLES.items()
        for letter in ("k", "M")
        for name in preset.contestants
        if CONTESTANTS[name].operation in operations
    ] + [("Growth", axis) for axis in preset.axes]
    found: dict[tuple[str, str], Curves] = {}
    for title, axis in lines:
        rows = [(axis.size(case), rows_at(results, case)[axis.contestant]) for case in axis.cases]
        points = [(size, median(row["step_s"])) for size, row in rows if row["status"] == "ok"]
        if len(rows) > 1 and points:
            key = (f"{title}, {_others(axis.cases[0], axis.letter)}", axis.letter)
            found.setdefault(key, {})[axis.contestant] = points
    return found


def draw(results: dict[str, Any], preset: Preset, path: Path) -> bool:
    """Write the figure; False where there is nothing to draw."""
    drawn = panels(results, preset)
    if not drawn:
        return False
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    columns = min(2, len(drawn))
    rows = -(-len(drawn) // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    names = list(preset.work())
    for place, ((title, letter), curves) in enumerate(drawn.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        for name, points in curves.items():
            ours = CONTESTANTS[name].ours
            axes.plot(
                *zip(*points, strict=True), "o-" if ours else "s--", label=name,
                color=colormaps["tab10"](names.index(name) % 10), linewidth=2.5 if ours else 1.5,
            )  # fmt: skip
        sizes = sorted({size for points in curves.values() for size, _ in points})
        axes.set(xscale="log", yscale="log", xlabel=letter, ylabel="seconds per training step", title=title)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.suptitle(f"{results['about']['device']}; {results['about']['machine']}", fontsize=9)
    figure.savefig(path, dpi=150, format="png")
    return True
