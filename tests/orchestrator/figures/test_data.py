"""Figures of a sweep: what they say, how they are drawn, and that MLflow alone is enough to draw them again."""

import dataclasses
import re
from importlib import resources
from typing import Any

import pytest
from matplotlib.colors import to_hex, to_rgb

from models.variants import VARIANTS
from orchestrator.figures.colours import looks_of
from orchestrator.figures.data import figures_of, joined
from orchestrator.figures.shapes import WIDTH, Figure, Line, Panel
from orchestrator.tracking.records import TrialRecord
from tests.support.records import grid

CSS = (resources.files("orchestrator.figures") / "page" / "page.css").read_text(encoding="utf-8")


def unfinished(trial: TrialRecord) -> TrialRecord:
    metrics = {key: value for key, value in trial.metrics.items() if key != "val/fvu"}
    history = {key: points for key, points in trial.history.items() if key != "val/fvu"}
    return dataclasses.replace(trial, metrics=metrics, history=history)


def drawn(records: list[TrialRecord]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures_of(records)}


def approx(*values: float) -> Any:
    return pytest.approx(values, rel=1e-12)


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
    records = grid(hookpoint=("layers.1", "layers.2"), variant=("mp-tied", "mp", "ito", "topk"), seed=(0, 1))
    del records[2:4]  # mp at layers.1
    figure = drawn(records)["fvu_by_variant"]
    assert figure.variants == ("topk", "mp-tied", "ito", "mp")
    first, second = figure.panels
    assert first.title == "layers.1, expansion 8, k 16"
    assert [bar.name for bar in first.bars] == ["topk", "mp-tied", "ito"]
    assert [bar.name for bar in second.bars] == ["topk", "mp-tied", "ito", "mp"]
    assert tuple(bar.value for bar in second.bars) == approx(0.389, 0.339, 0.189, 0.289)
    assert second.bars[3].spread == approx(0.284, 0.294)
    assert figure.about == "a; mean of 2 seeds; error bars: lowest to highest"


def test_two_variants_have_bars_where_no_curve_shows_them() -> None:
    records = grid(variant=("topk", "mp"), seed=(0, 1))
    (panel,) = drawn(records)["fvu_by_variant"].panels
    assert [bar.name for bar in panel.bars] == ["topk", "mp"]
    assert tuple(bar.value for bar in panel.bars) == approx(0.389, 0.289)
    assert "fvu_by_variant" not in drawn(grid(variant=("topk", "mp"), k=(16, 64)))
    assert "fvu_by_variant" not in drawn(grid(variant=("topk",)))
    elsewhere = grid(variant=("topk", "mp"), k=(16, 64), hookpoint=("layers.2",))
    assert [panel.title for panel in drawn([*records, *elsewhere])["fvu_by_variant"].panels] == [
        "layers.1, expansion 8, k 16"
    ]


def test_a_transcoder_and_an_autoencoder_share_no_panel() -> None:
    figures = drawn(grid(k=(16, 64), variant=("topk", "mp", "mp-tied", "sst", "transcoder", "mp-transcoder")))
    assert len(figures) == 4
    for figure in figures.values():
        for panel in figure.panels:
            names = {entry.name for entry in (*panel.lines, *panel.bars)}
            expected = (
                {"sst", "transcoder", "mp-transcoder"} if "transcoded" in panel.title else {"topk", "mp", "mp-tied"}
            )
            assert names == expected
    assert [panel.title for panel in figures["fvu_against_k"].panels] == [
        "layers.1, expansion 8", "layers.1, transcoded, expansion 8"]  # fmt: skip


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
    assert topk.band == (approx(0.384, 0.368), approx(0.394, 0.378))
    assert (topk.look.colour, mp.look.colour) == (to_hex("tab:blue"), to_hex("tab:red"))
    assert figure.about == "a; mean of 2 seeds; error bars: lowest to highest; numbers: k"


def test_a_missing_bias_is_drawn_over_the_share_of_the_mean() -> None:
    share = {"layers.1": 0.03, "layers.2": 1.2, "layers.3": 1.1}
    trials = [
        dataclasses.replace(trial, metrics=trial.metrics | {"val/mean_share": share[trial.hookpoint]})
        for trial in grid(hookpoint=tuple(share), k=(16, 64), variant=("topk", "mp", "mp-uncentred"), seed=(0, 1))
    ]
    figure = drawn(trials)["fvu_against_mean"]
    assert [panel.title for panel in figure.panels] == ["expansion 8, k 16", "expansion 8, k 64"]
    topk, mp, uncentred = figure.panels[0].lines
    assert (topk.x, topk.y) == ((0.03, 1.1, 1.2), approx(1, 1, 1))
    assert (mp.name, uncentred.name) == ("mp", "mp-uncentred")
    fvu = {(t.variant, t.hookpoint, t.seed): t.metrics["val/fvu"] for t in trials if t.k == 16}
    expected = [
        sum(fvu["mp", place, seed] / fvu["topk", place, seed] for seed in (0, 1)) / 2
        for place in sorted(share, key=lambda name: share[name])
    ]
    assert mp.y == approx(*expected)
    for without in ("mp-uncentred", "topk"):
        assert "fvu_against_mean" not in drawn([trial for trial in trials if trial.variant != without])
    assert "fvu_against_mean" not in drawn([trial for trial in trials if trial.hookpoint != "layers.3"])


def test_what_training_at_one_k_costs_at_another_is_drawn_beside_coders_of_each() -> None:
    trials = [
        dataclasses.replace(
            trial,
            metrics=trial.metrics
            | {"inference/own/fvu": 1 / trial.k, "inference/k16/fvu": 16 / trial.k, "inference/k64/fvu": 64 / trial.k},
        )
        for trial in grid(k=(16, 64), variant=("topk", "mp"), seed=(0, 1))
    ]
    figure = drawn(trials)["fvu_at_other_k"]
    assert [panel.title for panel in figure.panels] == [
        "topk\nlayers.1, expansion 8", "mp\nlayers.1, expansion 8",
    ]  # fmt: skip
    lines = {line.name: (line.x, line.y) for line in figure.panels[0].lines}
    assert lines == {
        "trained at each k": ((16, 64), (1 / 16, 1 / 64)),
        "trained at k 16": ((16, 64), (1.0, 4.0)),
        "trained at k 64": ((16, 64), (0.25, 1.0)),
    }
    assert set(figure.variants) == set(lines)
    one_k = [trial for trial in trials if trial.k == 16]
    assert "fvu_at_other_k" not in drawn(one_k)


def test_trials_without_times_have_no_figure_of_them() -> None:
    records = grid(k=(16, 64))
    for trial in records:
        del trial.metrics["train_seconds"]
    assert "fvu_against_time" not in drawn(records)


def test_looks_are_fixed_and_distinct() -> None:
    assert {name: look.colour for name, look in looks_of(["mp", "topk"]).items()} == {
        "topk": to_hex("tab:blue"), "mp": to_hex("tab:red")}  # fmt: skip
    many = [f"variant-{index}" for index in range(10)]
    found = looks_of(["mp", *many, "topk"])
    assert len({look.colour for look in found.values()}) == 12
    assert looks_of([*reversed(many), "topk", "mp"]) == found
    every = looks_of([*VARIANTS, *many])
    assert len({(look.dash, look.marker) for look in every.values()}) == len(every)  # without colour, too
    assert len({look.dash for look in looks_of(["topk", "mp", "mp-tied"]).values()}) == 3


def test_rates_of_one_variant_have_its_colour() -> None:
    found = looks_of(["mp (lr 0.001)", "mp (lr 0.01)", "topk (lr 0.001)"])
    assert [look.colour for look in found.values()] == [to_hex("tab:blue"), *[to_hex("tab:red")] * 2]
    assert len({(look.dash, look.marker) for name, look in found.items() if name.startswith("mp")}) == 2


def luminance(colour: str) -> float:
    """Relative luminance of the WCAG."""
    parts = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(colour))
    return sum(part * weight for part, weight in zip(parts, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize("back", re.findall(r"--back: (#\w+)", CSS))
def test_every_colour_can_be_told_from_the_page(back: str) -> None:
    for look in looks_of(VARIANTS).values():
        low, high = sorted((luminance(look.colour), luminance(back)))
        assert (high + 0.05) / (low + 0.05) >= 3, look


def test_no_line_hides_another() -> None:
    """What lies below shows on both sides; lines that meet nothing are as thin as any."""
    x = (1.0, 2.0, 3.0)
    heights = {"topk": (0.001, 0.001, 0.5), "mp": (1.0, 0.5, 1.0), "mp-tied": (0.001,) * 3, "ito": (0.0002,) * 3}
    lines = tuple(Line(name=name, look=looks_of([name])[name], x=x, y=y) for name, y in heights.items())
    panel = Panel(title="", xlabel="", ylabel="", lines=lines)
    assert panel.widths == (3 * WIDTH, WIDTH, 2 * WIDTH, WIDTH)
    assert dataclasses.replace(panel, y_log=True).widths == (2 * WIDTH, WIDTH, WIDTH, WIDTH)
    points = tuple(dataclasses.replace(line, x=x[:1], y=(0.3,)) for line in lines[:2])
    assert dataclasses.replace(panel, lines=points).widths == (2 * WIDTH, WIDTH)


def test_several_models_are_told_apart() -> None:
    figure = drawn(grid(model=("a/x", "b/y"), k=(16, 64)))["fvu_against_k"]
    assert [panel.title for panel in figure.panels] == ["x\nlayers.1, expansion 8", "y\nlayers.1, expansion 8"]
    assert figure.about == "one seed"
