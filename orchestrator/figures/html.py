"""The page of a sweep, which needs nothing else: its result, its settings, its figures with their numbers, links."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from orchestrator.comparison.points import compare, point_of
from orchestrator.comparison.scores import inference_rows, score_rows
from orchestrator.comparison.sentence import KINDS, sentence
from orchestrator.comparison.table import comparison_rows, note_of
from orchestrator.figures.links import links_to_latents
from orchestrator.figures.plots import plot_of
from orchestrator.figures.settings import machine_of, settings_of
from orchestrator.figures.shapes import Figure, Panel
from orchestrator.figures.swatches import swatch
from orchestrator.figures.tables import numbers_of, pairs, table
from orchestrator.tracking.records import TrialRecord


def write_html(
    name: str, records: Sequence[TrialRecord], figures: Sequence[Figure], tags: Mapping[str, str], path: Path
) -> None:
    """Write the page of the sweep called `name` into the file `path`; `tags` are of its run and name the machine."""
    plots = _plots(figures)
    page = Template(_file("page.html")).substitute(
        title=escape(name), style=_file("page.css"), script=_file("page.js"), library=get_plotlyjs(),
        sentence=escape(sentence(records)), results=_results(records), settings=_settings(records, tags),
        scores=_section("Scores", table(score_rows(records))),
        inference=_section("Inference", table(inference_rows(records))),
        figures="\n".join(_figure(figure, plots) for figure in figures),
        latents=_section("Latents", links_to_latents(path.parent)),
        name=_json(name), plots=_json(plots),
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")


def _results(records: Sequence[TrialRecord]) -> str:
    """Who is lowest where: a table for autoencoders, and one for transcoders."""
    parts = []
    kinds = sorted({point_of(record).transcode for record in records})
    for kind in kinds:
        found = compare({"": [record for record in records if point_of(record).transcode == kind]})
        parts += [f"<h3>{KINDS[kind].capitalize()}</h3>"] if len(kinds) > 1 else []
        parts += [table(comparison_rows(found)), f"<p>{escape(note_of(found))}</p>"]
    return "\n".join(parts)


def _settings(records: Sequence[TrialRecord], tags: Mapping[str, str]) -> str:
    first, others = settings_of(records)
    parts = [pairs(first + machine_of(tags))]
    parts += [f"<details>\n<summary>All settings</summary>\n{pairs(others)}\n</details>"] if others else []
    return "\n".join(parts)


def _figure(figure: Figure, plots: Mapping[str, Any]) -> str:
    """Its legend and its panels."""
    legend = "" if figure.panels[0].bars else _legend(figure)
    panels = "\n".join(_panel(name, panel, plots) for name, panel in zip(_names(figure), figure.panels, strict=True))
    return (
        f'<section id="{figure.name}">\n<h2>{escape(figure.title)}</h2>\n<p>{escape(figure.about)}</p>\n{legend}'
        f'<div class="panels columns{figure.columns}">\n{panels}\n</div>\n</section>'
    )


def _panel(name: str, panel: Panel, plots: Mapping[str, Any]) -> str:
    """The place of a plot above the table of its numbers."""
    height = plots[name]["layout"]["height"]
    described = escape(f"{panel.ylabel}: its numbers are in the table below")
    return (
        f"<figure>\n<figcaption>{escape(panel.title)}</figcaption>\n"
        f'<div class="plot" id="{name}" role="img" aria-label="{described}" style="height: {height}px"></div>\n'
        f"<details>\n<summary>Numbers</summary>\n{table(numbers_of(panel))}\n</details>\n</figure>"
    )


def _legend(figure: Figure) -> str:
    """Buttons: each takes its variant out of the figure's panels, and puts it back."""
    entries = "".join(
        f'<button type="button" aria-pressed="true" value="{escape(name)}">{swatch(look)}{escape(name)}</button>'
        for name, look in figure.looks.items()
    )
    return f'<p class="legend" role="group" aria-label="Variants shown">{entries}</p>\n'


def _plots(figures: Sequence[Figure]) -> dict[str, Any]:
    """What plotly draws, by the id of its place."""
    return {
        name: plot_of(panel, figure.variants)
        for figure in figures
        for name, panel in zip(_names(figure), figure.panels, strict=True)
    }


def _names(figure: Figure) -> list[str]:
    return [f"{figure.name}-{number}" for number in range(1, len(figure.panels) + 1)]


def _section(heading: str, body: str) -> str:
    return f'<section id="{heading.lower()}">\n<h2>{heading}</h2>\n{body}\n</section>' if body else ""


def _json(content: object) -> str:
    """JSON that may stand in a script."""
    text: str = to_json_plotly(content)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _file(name: str) -> str:
    return (files("orchestrator.figures") / "page" / name).read_text(encoding="utf-8")
