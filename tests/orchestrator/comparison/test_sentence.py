"""The result in one sentence, for every kind of result that there is."""

from typing import Any

from orchestrator.comparison.sentence import sentence
from tests.support.records import grid, record


def told(**axes: tuple[Any, ...]) -> str:
    return sentence(grid(**axes))


def test_one_comparison_is_told_with_its_lead() -> None:
    assert told(variant=("topk", "mp")) == "Lowest held-out FVU at layers.1, expansion 8, k 16: mp by 0.1000, one seed."
    several = told(variant=("topk", "mp"), seed=(0, 1, 2))
    assert several == "Lowest held-out FVU at layers.1, expansion 8, k 16: mp by 0.1000 ± 0.0000."


def test_several_comparisons_are_counted_with_what_they_rest_on() -> None:
    assert told(variant=("topk", "mp"), k=(16, 32)) == (
        "Of 2 comparisons at the same input, expansion and k, mp has the lowest held-out FVU in 2 "
        "(one seed, which another may well turn around)."
    )
    records = grid(variant=("topk", "mp"), k=(16, 32), seed=(0, 1))
    for trial in records:
        if trial.k == 32 and trial.variant == "mp" and trial.seed == 1:
            trial.metrics["val/fvu"] = 0.9
    assert sentence(records) == (
        "Of 2 comparisons at the same input, expansion and k, mp has the lowest held-out FVU in 1, "
        "in 1 there is no winner (2 seeds; all of a winner's 95 % interval is above 0)."
    )


def test_nobody_wins_what_is_level() -> None:
    found = told(variant=("mp-sliced", "ito"), k=(16, 32))
    assert found.startswith("None of 2 comparisons at the same input, expansion and k has a winner (")


def test_transcoders_are_told_by_themselves() -> None:
    found = told(variant=("topk", "mp", "sst", "transcoder"), k=(16, 32))
    first, second = found.split("; ")
    assert first.startswith("Of 2 comparisons of autoencoders") and ", mp has" in first
    assert second.startswith("none of 2 comparisons of transcoders")


def test_what_has_no_rival_is_no_winner() -> None:
    alone = told(variant=("topk",))
    assert alone == ("Nothing to compare: topk at layers.1, expansion 8, k 16 has a held-out FVU of 0.3840 (one seed).")
    several = told(variant=("topk",), hookpoint=("layers.1", "layers.2"))
    assert several == "Nothing to compare: no two variants have a held-out FVU at the same input, expansion and k."
    apart = told(variant=("topk", "sst"))
    assert apart.count("othing to compare") == 2 and "sst at layers.1, transcoded, " in apart


def test_trials_without_a_value_are_compared_with_nothing() -> None:
    trial = record()
    trial.metrics.clear()
    assert sentence([trial]).startswith("Nothing to compare: ")
