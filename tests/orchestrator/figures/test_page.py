"""The page of a sweep in a real browser: on a telephone's width, in the dark, at home and away from it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.figures.files import write_figures
from tests.support.browser import needs_browser, posted, watched
from tests.support.records import grid

NARROW = 420
DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"
VARIANTS = ("topk", "mp", "sst", "mp-transcoder-separate-subtraction")
MEASURE = """
<script>
const plots = () => [...document.querySelectorAll(".plot")];
const wide = (plot) => Number(plot.querySelector(".main-svg")?.getAttribute("width"));
const drawn = () => plots().every((plot) => wide(plot) === plot.clientWidth);
const traces = () => document.querySelectorAll("#fvu_against_k .scatterlayer .trace").length;
const beyond = (right) => (element) => element.getBoundingClientRect().right > right + 0.5;
const named = (element) => `${element.tagName} ${element.textContent.trim().slice(0, 60)}`;

function report() {
  const cut = [...document.querySelectorAll("main *:not(svg, svg *)")].filter(beyond(innerWidth));
  for (const plot of plots()) {
    cut.push(...[...plot.querySelectorAll("text")].filter(beyond(plot.getBoundingClientRect().right)));
  }
  const before = traces();
  document.querySelector("#fvu_against_k .legend button").click();
  const found = {
    width: innerWidth, scroll: document.documentElement.scrollWidth, cut: cut.map(named), plots: plots().length,
    left: new Set(plots().map((plot) => plot.getBoundingClientRect().left)).size, traces: [before, traces()],
    colours: [getComputedStyle(document.body).backgroundColor, document.querySelector(".main-svg").style.background],
    links: [...document.querySelectorAll("#latents a")].map((link) => link.getAttribute("href")),
  };
  fetch("/", { method: "POST", body: JSON.stringify(found) });
}

document.querySelectorAll("details").forEach((details) => { details.open = true; });
const wait = () => (drawn() ? report() : requestAnimationFrame(wait));
wait();
</script>
"""
FRAME = '<!doctype html>\n<iframe src="{page}" style="width: {width}px; height: 3000px; border: 0"></iframe>\n'


def measured(directory: Path, sweep: str, width: int, flag: str) -> dict[str, Any]:
    """What the page that was written there is like in a window of that width."""
    page = directory / sweep / "figures" / "figures.html"
    page.write_text(page.read_text(encoding="utf-8").removesuffix("</body>\n</html>\n") + MEASURE, encoding="utf-8")
    frame = directory / "frame.html"  # a window of Chromium's is never narrower than 500
    frame.write_text(FRAME.format(page=page.relative_to(directory), width=width), encoding="utf-8")
    content: dict[str, Any] = json.loads(posted(directory, frame.name, flag))
    return content


def write(directory: Path, sweep: str) -> None:
    latents = directory / sweep / "trials" / "m-one" / "scores" / "latents.html"
    latents.parent.mkdir(parents=True)
    latents.write_text("latents", encoding="utf-8")
    write_figures("night", grid(variant=VARIANTS, k=(16, 64), seed=(0, 1)), directory / sweep / "figures")


def brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / (3 * 255)


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_telephone_shows_everything_in_one_column(dark: bool, tmp_path: Path) -> None:
    write(tmp_path, "night")
    found = measured(tmp_path, "night", NARROW, DARK if dark else LIGHT)
    assert found["cut"] == []
    assert found["scroll"] <= found["width"] == NARROW
    assert (found["plots"], found["left"]) == (2 + 2 * 4 + 2, 1)
    assert [brightness(colour) < 0.2 if dark else brightness(colour) > 0.8 for colour in found["colours"]] == [True] * 2
    assert found["traces"] == [12, 9]  # topk's line and the two edges of its band are away
    assert found["links"] == ["../trials/m-one/scores/latents.html"]


@needs_browser
def test_a_page_away_from_its_sweep_has_no_dead_links(tmp_path: Path) -> None:
    """As in MLflow, where it is an artifact in another place; a wide window has panels side by side."""
    write(tmp_path, "artifacts")
    found = measured(tmp_path, "artifacts", 1300, LIGHT)
    assert found["links"] == [None]
    assert found["left"] == 2 and found["scroll"] <= 1300


@needs_browser
def test_plots_are_drawn(tmp_path: Path) -> None:
    write(tmp_path, "drawn")
    page = tmp_path / "drawn" / "figures" / "figures.html"
    script = """(() => {
        const plots = [...document.querySelectorAll('.plot')];
        return plots.length > 0 && plots.every(plot => plot.querySelector('.main-svg'));
    })()"""
    assert watched(page.as_uri(), tmp_path / "profile", script, "figures.png")
