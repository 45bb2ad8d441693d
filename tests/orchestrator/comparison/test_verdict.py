"""Who is lower: what is said of one seed, of several, of none, and of what cannot be compared."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t, ttest_ind, ttest_rel

from models.variants import VARIANTS
from orchestrator.comparison.points import Arm, Comparison, compare
from orchestrator.comparison.table import comparison_table
from orchestrator.comparison.verdict import Verdict, difference, summary, verdict
from orchestrator.tracking.records import TrialRecord
from tests.support.markdown import rows

MP, TOPK = Arm("mp"), Arm("topk")


def record(fvu: float | None, variant: str = "mp", seed: int = 0, **axes: object) -> TrialRecord:
    given = {"model": "m", "hookpoint": "layers.1", "k": 4, "expansion_factor": 8, **axes}
    metrics = {} if fvu is None else {"val/fvu": fvu}
    return TrialRecord(variant=variant, seed=seed, metrics=metrics, history={}, **given)  # type: ignore[arg-type]


def judged(mp: list[float | None], topk: list[float | None]) -> Verdict | None:
    return verdict({MP: dict(enumerate(mp)), TOPK: dict(enumerate(topk))})


def said(mp: list[float | None], topk: list[float | None]) -> str:
    found = judged(mp, topk)
    return "-" if found is None else found.describe(found.lowest.variant)


def test_one_seed_names_the_lowest_and_says_that_it_is_one() -> None:
    assert said([0.3], [0.4]) == "mp by 0.1000, one seed"
    assert said([0.4], [0.3]) == "topk by 0.1000, one seed"


def test_a_lead_that_is_not_shown_is_none() -> None:
    assert said([0.30001], [0.30002]) == "level, one seed"
    found = judged([0.30001, 0.30001], [0.30002, 0.30002])
    assert found is not None and found.winner is None and said([0.3, 0.3], [0.3, 0.3]).startswith("cannot be told")


def test_several_seeds_name_a_winner_only_where_all_of_the_interval_is_above_0() -> None:
    assert said([0.30, 0.31, 0.32], [0.40, 0.411, 0.419]) == "mp by 0.1000 ± 0.0025"
    assert said([0.30, 0.50], [0.40, 0.45]) == "cannot be told: 0.0250 ± 0.9530"


@given(st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)), min_size=2, max_size=6))
def test_a_winner_is_what_the_paired_t_test_of_scipy_finds(pairs: list[tuple[float, float]]) -> None:
    mp, topk = ([*values] for values in zip(*pairs, strict=True))
    found = judged([*mp], [*topk])
    assert found is not None and found.margin is not None and found.lead >= 0
    leads = np.subtract(topk, mp)
    if found.level or np.ptp(leads) < 1e-6 or abs(found.lead - found.margin) < 1e-9:
        return
    assert (found.winner is not None) == (ttest_rel(mp, topk).pvalue < 0.05)


@given(*(st.lists(st.floats(0.1, 0.9), min_size=2, max_size=6) for _ in range(2)))
def test_unpaired_the_interval_is_that_of_scipys_welch_test(mp: list[float], topk: list[float]) -> None:
    found = difference(dict(enumerate(mp)), dict(enumerate(topk, start=100)), paired=False)
    assert found is not None and found.margin is not None and not found.paired
    assert found.value == pytest.approx(np.mean(topk) - np.mean(mp))
    assert found.seeds == min(len(mp), len(topk))
    if min(np.ptp(mp), np.ptp(topk)) < 1e-6:  # scipy loses its digits
        return
    interval = ttest_ind(topk, mp, equal_var=False).confidence_interval(0.95)
    assert found.margin == pytest.approx((interval.high - interval.low) / 2)


def test_unpaired_one_seed_has_no_interval_and_two_equal_ones_have_none_to_speak_of() -> None:
    alone = difference({0: 0.3}, {1: 0.4, 2: 0.5}, paired=False)
    assert alone is not None and alone.margin is None and alone.value == pytest.approx(0.15)
    level = difference({0: 0.3, 1: 0.3}, {2: 0.4, 3: 0.4}, paired=False)
    assert level is not None and level.margin == 0
    assert difference({0: None}, {1: 0.4}, paired=False) is None


def test_only_seeds_that_both_have_are_compared() -> None:
    assert said([0.30, None], [0.35, 0.1]) == "mp by 0.0500, one seed"
    assert said([None, 0.3], [0.2, None]) == "-"
    assert said([None], [0.2]) == "-"


def test_a_mean_says_its_spread_and_what_is_missing() -> None:
    assert str(summary({0: 0.25})) == "0.2500"
    assert str(summary({0: 0.2, 1: 0.3})) == f"0.2500 ± {np.std([0.2, 0.3], ddof=1):.4f}"
    assert str(summary({0: 0.25, 1: None})) == "0.2500 (1 of 2 seeds)"
    assert summary({0: None}) is None


@given(st.lists(st.floats(0.1, 0.9), min_size=2, max_size=6))
def test_the_interval_of_a_mean_is_students(values: list[float]) -> None:
    found = summary(dict(enumerate(values)))
    assert found is not None and found.margin is not None
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    assert found.margin == pytest.approx(half)


def test_a_variant_with_several_learning_rates_is_judged_at_its_best_one() -> None:
    rates = [record(0.4, "topk (lr 0.1)"), record(0.3, "topk (lr 0.01)"), record(0.2, "mp (lr 0.1)")]
    table = comparison_table([*rates, record(0.1, "mp (lr 0.01)")])
    assert rows(table)[2][-1] == "mp (lr 0.01) by 0.2000, one seed" and "learning rate that is best" in table
    sweeps = comparison_table([record(0.4, "topk (a)"), record(0.3, "topk (b)"), record(0.5, "mp (a)")])
    assert rows(sweeps)[2][-1] == "topk (b) by 0.1000, one seed" and "learning rate" not in sweeps
    alone = comparison_table(rates[:2])
    assert rows(alone)[2][-1] == "topk (lr 0.01) by 0.1000, one seed"


def test_rows_are_in_the_order_of_the_layers() -> None:
    found = [replace(record(0.1), hookpoint=f"layers.{layer}") for layer in (10, 4)]
    assert [row[0] for row in rows(comparison_table(found))[2:]] == ["layers.4", "layers.10"]


def test_a_transcoder_never_meets_an_autoencoder() -> None:
    assert VARIANTS["sst"].transcode and not VARIANTS["topk"].transcode
    table = comparison_table([record(0.1, "sst"), record(0.3), record(0.4, "topk"), record(0.2, "transcoder")])
    assert rows(table)[2:] == [
        ["layers.1", "8", "4", "-", "0.4000", "-", "0.3000", "mp by 0.1000, one seed"],
        ["layers.1, transcoded", "8", "4", "0.1000", "-", "0.2000", "-", "sst by 0.1000, one seed"],
    ]


def test_sweeps_are_told_apart_where_there_are_several() -> None:
    found: Comparison = compare({"a": [record(0.1)], "b": [record(0.2)]})
    assert found.arms == [Arm("mp", "a"), Arm("mp", "b")]
    (arms,) = found.values.values()
    assert arms == {Arm("mp", "a"): {0: 0.1}, Arm("mp", "b"): {0: 0.2}}


@pytest.mark.parametrize(("seeds", "note"), [(1, "One seed"), (3, "of 3 seeds; the lead with its 95 % interval")])
def test_the_note_says_how_many_seeds(seeds: int, note: str) -> None:
    assert note in comparison_table([record(0.1 + seed / 10, seed=seed) for seed in range(seeds)]).splitlines()[-1]
