"""The figures of a sweep as files."""

import dataclasses
import json
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from plotly.offline import get_plotlyjs

from orchestrator.figures.data import figures_of
from orchestrator.figures.files import write_figures
from tests.support.latent_pages import Reader
from tests.support.records import grid


def plots_of(page: str) -> dict[str, dict[str, Any]]:
    """Data and layout of every panel in a page."""
    plots: dict[str, dict[str, Any]] = json.loads(page.partition('id="plots">')[2].partition("</script>")[0])
    return plots


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
    assert "<h1>a &lt;name&gt;</h1>" in rest
    assert re.findall(r"<link|<img|@import|\bsrc=|https?://(?!www\.w3\.org)", rest) == []
    assert not any(len(line) > 1e6 for line in rest.splitlines())

    plots = plots_of(rest)
    reader = Reader(rest)
    for figure in figures_of(records):
        for number, panel in enumerate(figure.panels, 1):
            traces = plots[f"{figure.name}-{number}"]["data"]
            for line in panel.lines:
                assert any(trace["x"] == list(line.x) and trace["y"] == list(line.y) for trace in traces)
                assert all(f"{y:.4f}" in reader.text for y in line.y)
            values = [bar.value for bar in panel.bars]
            assert not values or any(trace["x"] == values and trace["type"] == "bar" for trace in traces)
            assert all(f"{bar.value:.4f}" in reader.text for bar in panel.bars)
    assert len(plots) == sum(len(figure.panels) for figure in figures_of(records)) == reader.tags().count("figure")


def test_the_page_opens_with_a_sentence_the_table_and_the_settings(tmp_path: Path) -> None:
    records = [
        dataclasses.replace(trial, settings={"lr": "0.001", "dataset": "python-docs", "train_tokens": "196608"})
        for trial in grid(k=(16,), variant=("topk", "mp"))
    ]
    tags = {"host": "h-1", "cpu.count": "2", "version.torch": "2.13.0", "mlflow.user": "nobody"}
    write_figures("night", records, tmp_path, tags)
    text = Reader((tmp_path / "figures.html").read_text(encoding="utf-8")).text
    told = (
        "Lowest held-out FVU at layers.1, expansion 8, k 16: mp by 0.1000, one seed.", "topk FVU", "0.3840",
        "One seed:", "Settings", "python-docs", "196,608", "0.001", "h-1", "torch 2.13.0",
        "Held-out FVU by variant", "Numbers",
    )  # fmt: skip
    places = [text.index(part) for part in told]
    assert places == sorted(places)
    assert "nobody" not in text and "Scores" not in text and "Latents" not in text


def test_scores_and_pages_of_latents_are_there_where_they_are(tmp_path: Path) -> None:
    scores = {f"autointerp/fuzz/{key}": value for key, value in
              {"mean": 0.712, "mean_low": 0.65, "mean_high": 0.76, "n": 40.0}.items()}  # fmt: skip
    records = [dataclasses.replace(trial, metrics=trial.metrics | scores) for trial in grid(variant=("topk", "mp"))]
    for place in ("trials/m one/scores/latents.html", "comparisons/m one.html"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text("latents", encoding="utf-8")
    write_figures("night", records, tmp_path / "figures")
    reader = Reader((tmp_path / "figures" / "figures.html").read_text(encoding="utf-8"))
    assert "0.712 [0.650, 0.760], 40" in reader.text
    links = [str(found["href"]) for tag, found in reader.elements if tag == "a"]
    assert links == ["../trials/m%20one/scores/latents.html", "../comparisons/m%20one.html"]
    assert all((tmp_path / "figures" / unquote(link)).is_file() for link in links)


def test_dictionaries_under_other_inference_have_their_table(tmp_path: Path) -> None:
    tried = {"inference/own/fvu": 0.4321, "inference/ito/fvu": 0.3456, "inference/non_negative/fvu": 0.3123}
    topk, mp = grid(k=(16,), variant=("topk", "mp"))
    write_figures("night", [dataclasses.replace(topk, metrics=topk.metrics | tried), mp], tmp_path)
    reader = Reader((tmp_path / "figures.html").read_text(encoding="utf-8"))
    assert "Inference" in reader.text and "0.43210.34560.3123" in reader.text  # one row


def test_drawing_again_gives_the_same_files(tmp_path: Path) -> None:
    for directory in ("one", "two"):
        write_figures("name", grid(k=(16, 64), seed=(0, 1)), tmp_path / directory)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_names_are_no_formulas_and_no_markup(tmp_path: Path) -> None:
    records = grid(model=("/a/x$\\b$_{<b>", "/b/x$\\b$_{<b>"), hookpoint=("layers.$1$^",), variant=("topk", "mp"))
    write_figures("$\\frac$ <i>", records, tmp_path)
    assert (tmp_path / "dead_and_fvu.png").is_file()
    page = (tmp_path / "figures.html").read_text(encoding="utf-8").replace(get_plotlyjs(), "")
    for model in "ab":  # two of one name are told apart
        assert f"<figcaption>{model}/x$\\b$_{{&lt;b&gt;" in page
    assert "<i>" not in page and "<b>" not in page
