"""Figures of a sweep: what they say, how they are drawn, and that MLflow alone is enough to draw them again."""

import dataclasses
import itertools
import json
import math
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from mlflow import MlflowClient
from plotly.offline import get_plotlyjs

from orchestrator.errors import UserError
from orchestrator.figures import command
from orchestrator.figures.colours import colours_of
from orchestrator.figures.data import Figure, figures_of, joined
from orchestrator.figures.files import write_figures
from orchestrator.grid.config import AXES
from orchestrator.tracking.mlflow_store import default_uri
from orchestrator.tracking.reader import read_sweep
from orchestrator.tracking.records import TrialRecord, journal_records
from orchestrator.tracking.tracker import Tracker

CENTRE = {"topk": 0.4, "mp": 0.3, "mp-tied": 0.35}
STEPS = [1, 50, 100]


def fvu_of(k: int, variant: str, seed: int) -> float:
    return CENTRE.get(variant, 0.2) - k / 1000 + seed / 100


def record(**given: Any) -> TrialRecord:
    axes = {"model": "m/a", "hookpoint": "layers.1", "k": 16, "expansion_factor": 8, "variant": "topk", "seed": 0}
    axes |= given
    fvu = fvu_of(axes["k"], axes["variant"], axes["seed"])
    history = {
        "train/fvu": [(step, fvu + 1 / step) for step in STEPS],
        "dead_pct": [(step, step / 10 + axes["seed"]) for step in STEPS],
        "train_seconds": [(step, step * axes["k"] / 16 + axes["seed"]) for step in STEPS],
        "val/fvu": [(100, fvu)],
    }
    return TrialRecord(**axes, metrics={key: points[-1][1] for key, points in history.items()}, history=history)


def grid(**axes: tuple[Any, ...]) -> list[TrialRecord]:
    return [record(**dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]


def unfinished(trial: TrialRecord) -> TrialRecord:
    metrics = {key: value for key, value in trial.metrics.items() if key != "val/fvu"}
    history = {key: points for key, points in trial.history.items() if key != "val/fvu"}
    return dataclasses.replace(trial, metrics=metrics, history=history)


def drawn(records: list[TrialRecord]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures_of(records)}


def approx(*values: float) -> Any:
    return pytest.approx(values, rel=1e-12)


# --- what figures say ---


def test_fvu_against_k_is_the_mean_of_the_seeds_between_the_lowest_and_the_highest() -> None:
    figure = drawn(grid(hookpoint=("layers.1", "layers.2"), k=(64, 16), variant=("mp", "topk"), seed=(0, 1, 2)))[
        "fvu_against_k"
    ]
    assert [panel.title for panel in figure.panels] == ["layers.1, expansion 8", "layers.2, expansion 8"]
    assert figure.about == "a; mean of 3 seeds; band: lowest to highest"
    for panel in figure.panels:
        assert panel.log2_ticks == (16, 64)
        assert (panel.xlabel, panel.ylabel) == ("k (active latents per token)", "held-out FVU (fraction)")
        topk, mp = panel.lines
        assert (topk.name, topk.x, topk.y) == ("topk", (16, 64), approx(0.394, 0.346))
        assert topk.band == (approx(0.384, 0.336), approx(0.404, 0.356))
        assert (mp.name, mp.x, mp.y) == ("mp", (16, 64), approx(0.294, 0.246))


def test_one_seed_has_no_band() -> None:
    figure = drawn(grid(k=(16, 64), variant=("topk", "mp")))["fvu_against_k"]
    assert [line.band for line in figure.panels[0].lines] == [None, None]
    assert figure.about == "a; one seed"


def test_a_place_without_a_second_k_has_no_panel() -> None:
    records = [*grid(k=(16, 64)), *grid(hookpoint=("layers.2",))]
    assert [panel.title for panel in drawn(records)["fvu_against_k"].panels] == ["layers.1, expansion 8"]
    assert "fvu_against_k" not in drawn(grid(variant=("topk", "mp")))


def test_trials_that_did_not_finish_are_left_out_and_counted() -> None:
    first, *others = grid(k=(16, 32, 64), variant=("topk",), seed=(0, 1))
    for figure in drawn([unfinished(first), *others]).values():
        assert figure.about.endswith("; without 1 of 6 trials, unfinished")
        assert "mean of 1 to 2 seeds" in figure.about
    line = drawn([unfinished(first), *others])["fvu_against_k"].panels[0].lines[0]
    assert line.y == approx(0.394, 0.373, 0.341)
    assert line.band == (approx(0.394, 0.368, 0.336), approx(0.394, 0.378, 0.346))
    assert figures_of([unfinished(first)]) == []
    assert figures_of([]) == []


def test_bars_stand_in_the_order_of_the_grid_with_baselines_first() -> None:
    records = grid(hookpoint=("layers.1", "layers.2"), variant=("mp-tied", "mp", "sst", "topk"), seed=(0, 1))
    del records[2:4]  # mp at layers.1
    figure = drawn(records)["fvu_by_variant"]
    assert figure.variants == ("sst", "topk", "mp-tied", "mp")
    first, second = figure.panels
    assert first.title == "layers.1, expansion 8, k 16"
    assert [bar.name for bar in first.bars] == ["sst", "topk", "mp-tied"]
    assert [bar.name for bar in second.bars] == ["sst", "topk", "mp-tied", "mp"]
    assert tuple(bar.value for bar in second.bars) == approx(0.189, 0.389, 0.339, 0.289)
    assert second.bars[3].spread == approx(0.284, 0.294)
    assert figure.about == "a; mean of 2 seeds; error bars: lowest to highest"


def test_two_variants_are_no_bars() -> None:
    assert "fvu_by_variant" not in drawn(grid(variant=("topk", "mp"), seed=(0, 1)))


def test_one_seed_has_no_error_bars() -> None:
    figure = drawn(grid(variant=("topk", "mp", "mp-tied")))["fvu_by_variant"]
    assert {bar.spread for bar in figure.panels[0].bars} == {None}


def test_dead_latents_stand_beside_training_fvu() -> None:
    figure = drawn(grid(k=(16, 64), variant=("topk", "mp"), seed=(0, 1)))["dead_and_fvu"]
    assert (figure.columns, len(figure.panels)) == (2, 4)
    dead, fvu = figure.panels[:2]
    assert dead.title == fvu.title == "layers.1, expansion 8, k 16"
    assert (dead.xlabel, dead.ylabel, fvu.ylabel) == ("training step", "dead latents (%)", "training FVU (fraction)")
    line = dead.lines[0]
    assert (line.x, line.y) == ((1.0, 50.0, 100.0), approx(0.6, 5.5, 10.5))
    assert line.band == (approx(0.1, 5.0, 10.0), approx(1.1, 6.0, 11.0))
    assert fvu.lines[1].y == approx(1.289, 0.309, 0.299)
    assert "interpolated between reports" in figure.about


def test_dead_latents_are_drawn_from_zero_with_room_for_one_per_cent() -> None:
    panels = drawn(grid(k=(16,), variant=("topk", "mp"), seed=(0, 1)))["dead_and_fvu"].panels
    assert panels[0].y_range == pytest.approx((0.0, 1.05 * 11.0))
    none = dataclasses.replace(panels[0], lines=(dataclasses.replace(panels[0].lines[0], y=(0.0, 0.0), band=None),))
    assert none.y_range == (0.0, 1.0)


def test_only_the_first_rows_of_many_are_drawn_and_the_title_says_so() -> None:
    figure = drawn(grid(k=tuple(range(1, 10))))["dead_and_fvu"]
    assert len(figure.panels) == 12
    assert figure.title == "Dead latents and training FVU, the first 6 of 9 rows"


def test_seeds_that_report_at_other_steps_are_joined_where_both_reach() -> None:
    curves = [[(1, 1.0), (10, 10.0), (30, 0.0)], [(4, 0.0), (10, 5.0), (40, 5.0)]]
    assert joined(curves) == {4.0: [4.0, 0.0], 10.0: [10.0, 5.0], 30.0: [0.0, 5.0]}
    assert joined(curves[:1]) == {1.0: [1.0], 10.0: [10.0], 30.0: [0.0]}


def test_fvu_against_time_has_a_point_for_each_k() -> None:
    figure = drawn(grid(k=(32, 16), variant=("topk", "mp"), seed=(0, 1)))["fvu_against_time"]
    panel = figure.panels[0]
    assert panel.xlabel == "training time (s)"
    topk, mp = panel.lines
    assert (topk.x, topk.y, topk.labels) == (approx(100.5, 200.5), approx(0.389, 0.373), ("16", "32"))
    assert (topk.colour, mp.colour) == (to_hex("tab:blue"), to_hex("tab:red"))
    assert figure.about == "a; mean of 2 seeds; numbers: k"


def test_trials_without_times_have_no_figure_of_them() -> None:
    records = grid(k=(16, 64))
    for trial in records:
        del trial.metrics["train_seconds"]
    assert "fvu_against_time" not in drawn(records)


def test_colours_are_fixed_and_distinct() -> None:
    assert colours_of(["mp", "topk"]) == {"topk": to_hex("tab:blue"), "mp": to_hex("tab:red")}
    many = [f"variant-{index}" for index in range(10)]
    found = colours_of(["mp", *many, "topk"])
    assert len(set(found.values())) == 12
    assert colours_of([*reversed(many), "topk", "mp"]) == found


def test_several_models_are_told_apart() -> None:
    figure = drawn(grid(model=("a/x", "b/y"), k=(16, 64)))["fvu_against_k"]
    assert [panel.title for panel in figure.panels] == ["x\nlayers.1, expansion 8", "y\nlayers.1, expansion 8"]
    assert figure.about == "one seed"


# --- drawing ---


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
    page = (tmp_path / "figures.html").read_text()
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


# --- records ---

SWEEP = "night's run"


def log_sweep(storage: Path, uri: str | None = None, journal: str = "journal", finish_s: float = 60) -> None:
    """A sweep of two variants, two hookpoints and two seeds, of which one trial fails."""
    tracker = Tracker(uri, "grid", SWEEP, storage, storage / journal)
    tracker.start_sweep({"variant": ("mp-tied", "mp"), "k": (16,)}, {"host": "h"}, {})
    for hookpoint, variant, seed in itertools.product(("layers.10", "layers.9"), ("mp", "mp-tied"), (1, 0)):
        axes = {"model": "m", "hookpoint": hookpoint, "k": 16, "expansion_factor": 8, "variant": variant, "seed": seed}
        name = f"{hookpoint}-{variant}-{seed}"
        tracker.start_trial(name, {axis: axes[axis] for axis in AXES}, {"host": "h"})
        for step in (1, 7, 20):
            tracker.log_metrics(name, {"train/fvu": 1 / step + seed, "dead_pct": math.nan if step < 5 else 0.5}, step)
        if name == "layers.9-mp-0":
            tracker.end_trial(name, failure="NaN")
        else:
            tracker.log_metrics(name, {"val/fvu": fvu_of(16, variant, seed), "l0": 16.0, "odd": math.inf}, 20)
            tracker.end_trial(name)
    tracker.log_metrics(None, {"shards_computed": 3}, 1)
    tracker.finish(timeout_s=finish_s)


def test_journal_and_mlflow_give_the_same_records(storage: Path) -> None:
    log_sweep(storage)
    log_sweep(storage)  # a resumed sweep repeats what it has logged
    from_journal = journal_records(storage / "journal")
    sweep = read_sweep(default_uri(storage), SWEEP)
    assert sweep.records == from_journal
    assert (sweep.name, sweep.namesakes) == (SWEEP, 0)
    assert [(r.hookpoint, r.variant, r.seed) for r in from_journal] == list(
        itertools.product(("layers.9", "layers.10"), ("mp-tied", "mp"), (0, 1))
    )
    first = from_journal[0]
    assert (first.model, first.k, first.expansion_factor) == ("m", 16, 8)
    assert first.metrics == {"train/fvu": 0.05, "dead_pct": 0.5, "val/fvu": fvu_of(16, "mp-tied", 0), "l0": 16.0}
    assert first.history["train/fvu"] == [(1, 1.0), (7, 1 / 7), (20, 0.05)]
    assert first.history["dead_pct"] == [(7, 0.5), (20, 0.5)]
    assert [(r.variant, r.seed) for r in from_journal if "val/fvu" not in r.metrics] == [("mp", 0)]


def test_the_journal_has_the_records_when_mlflow_is_away(tmp_path: Path, storage: Path) -> None:
    log_sweep(storage, uri="http://127.0.0.1:9", finish_s=0.1)
    assert len(journal_records(storage / "journal")) == 8


def test_a_sweep_is_found_by_the_id_of_its_parent_too(storage: Path) -> None:
    log_sweep(storage)
    uri = default_uri(storage)
    by_name = read_sweep(uri, SWEEP)
    assert read_sweep(uri, by_name.run_id) == by_name
    client = MlflowClient(tracking_uri=uri)
    child = next(run for run in client.search_runs(["1"]) if "mlflow.parentRunId" in run.data.tags)
    with pytest.raises(UserError, match=f"^run '{child.info.run_id}': is a trial; its sweep is run {by_name.run_id}$"):
        read_sweep(uri, child.info.run_id)


# --- the command ---


def test_the_command_draws_the_newest_sweep_of_a_name_from_mlflow_alone(
    storage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_sweep(storage, journal="old")
    log_sweep(storage, journal="new")
    for journal in ("old", "new"):
        shutil.rmtree(storage / journal)
    shutil.rmtree(storage / "mlartifacts", ignore_errors=True)
    monkeypatch.chdir(storage)
    newest = read_sweep(default_uri(storage), SWEEP)
    assert newest.namesakes == 1
    for _ in range(2):  # drawing again replaces the files
        assert command.main([SWEEP, "--storage", str(storage)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"sweep {SWEEP}, run {newest.run_id}, the newest of 2 with this name"
    directory = Path("figures") / f"night_s_run-{newest.run_id[:8]}"
    assert lines[1] == str(directory / "figures.html")
    assert {path.name for path in directory.iterdir()} == {"figures.html", "dead_and_fvu.png"}
    assert command.main([newest.run_id, "--storage", str(storage), "--out", "here"]) == 0
    assert Path("here/figures.html").read_bytes() == (directory / "figures.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nothing"], r"run 'nothing': MLflow has no sweep of this name and no parent run with this id"),
        (['it\'s "it"'], r"run .*: MLflow has no sweep"),
        (["0" * 32], r"run '0{32}': MLflow has no sweep"),
        (["nothing", "--storage", "/nowhere"], r"run 'nothing': there is no MLflow store /nowhere/mlflow.db"),
        (["nothing", "--tracking-uri", "http://u:secret@127.0.0.1:9"], r"tracking_uri 'http://127.0.0.1:9': .*"),
        (["nothing", "--tracking-uri", "sqlite:///{storage}/notes.txt"], r"tracking_uri 'sqlite:.*': .*"),
        (["nothing", "--tracking-uri", "gopher://host"], r"tracking_uri 'gopher://host': .*"),
    ],
    ids=["name", "quotes", "id", "storage", "server", "file", "scheme"],
)
def test_what_cannot_be_drawn_is_one_line(
    arguments: list[str], expected: str, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (storage / "notes.txt").write_text("no database\n" * 1000)
    given = [argument.replace("{storage}", str(storage)) for argument in arguments]
    assert command.main([*given, *([] if "--storage" in given else ["--storage", str(storage)])]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert re.match(f"error: {expected}", errors[0])
    assert "secret" not in errors[0]


def test_a_sweep_without_a_finished_trial_is_one_line(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Tracker(None, "grid", "young", storage, storage / "journal")
    tracker.start_sweep({"variant": ("mp",)}, {}, {})
    tracker.start_trial("mp", {"k": 4}, {})
    tracker.finish()
    assert command.main(["young", "--storage", str(storage), "--out", str(storage / "out")]) == 2
    assert capsys.readouterr().err == "error: run 'young': no trial of it has finished, so there is nothing to draw\n"
    assert not (storage / "out").exists()
