"""The figures of a sweep as files."""

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs

from orchestrator.figures.data import figures_of
from orchestrator.figures.files import write_figures
from tests.support.records import grid


def page_data(page: str) -> dict[str, list[dict[str, Any]]]:
    """The traces of every figure in a page."""
    found = re.finditer(r'Plotly\.newPlot\(\s*"(\w+)",\s*(?=\[)', page)
    return {match[1]: json.JSONDecoder().raw_decode(page, match.end())[0] for match in found}


@pytest.mark.parametrize("places", [1, 2, 5])
def test_a_png_fits_a_page(places: int, tmp_path: Path) -> None:
    records = grid(
        hookpoint=tuple(f"layers.{index}.mlp" for index in range(places)), k=(16, 32), variant=("topk", "mp", "mp-tied")
    )
    write_figures("name", records, tmp_path)
    for name in ("fvu_against_k", "fvu_by_variant", "dead_and_fvu", "fvu_against_time"):
        content = (tmp_path / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", content[16:24])
        assert 900 <= width <= 1200
        assert 280 <= height <= 2500


def test_the_page_holds_every_number_and_needs_no_network(tmp_path: Path) -> None:
    records = grid(k=(16, 64), variant=("topk", "mp", "mp-tied"), seed=(0, 1))
    write_figures("a <name>", records, tmp_path)
    page = (tmp_path / "figures.html").read_text(encoding="utf-8")
    library = get_plotlyjs()
    assert page.count(library) == 1
    rest = page.replace(library, "")
    assert "a &lt;name&gt;" in rest
    assert re.findall(r"<link|<img|@import|\bsrc=|https?://(?!www\.w3\.org)", rest) == []
    assert rest.count('"showSendToCloud": false') == 4
    assert not any(len(line) > 1e6 for line in rest.splitlines())

    data = page_data(rest)
    assert list(data) == ["fvu_against_k", "fvu_by_variant", "dead_and_fvu", "fvu_against_time"]
    for figure in figures_of(records):
        traces = data[figure.name]
        for panel in figure.panels:
            for line in panel.lines:
                assert any(trace["x"] == list(line.x) and trace["y"] == list(line.y) for trace in traces)
            if panel.bars:
                values = [bar.value for bar in panel.bars]
                assert any(trace["x"] == values and trace["type"] == "bar" for trace in traces)
        named = [trace["name"] for trace in traces if trace["showlegend"] and figure.name != "fvu_by_variant"]
        assert sorted(named) == sorted(set(named))


def test_drawing_again_gives_the_same_files(tmp_path: Path) -> None:
    for directory in ("one", "two"):
        write_figures("name", grid(k=(16, 64), seed=(0, 1)), tmp_path / directory)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_names_are_no_formulas_and_no_markup(tmp_path: Path) -> None:
    records = grid(model=("/a/x$\\b$_{<b>", "/b/x$\\b$_{<b>"), hookpoint=("layers.$1$^",), variant=("topk", "mp"))
    write_figures("$\\frac$ <i>", records, tmp_path)
    assert (tmp_path / "dead_and_fvu.png").is_file()
    page = (tmp_path / "figures.html").read_text(encoding="utf-8")
    for model in "ab":  # two of one name are told apart
        assert f"{model}\\u002fx$\\\\b$_{{&lt;b&gt;" in page
    assert "<i>" not in page.replace(get_plotlyjs(), "")
