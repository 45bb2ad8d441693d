"""What is compared with what across sweeps, and how."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.variants import VARIANTS
from orchestrator.comparison.judged import Cell, judge
from orchestrator.comparison.labels import LETTERS, labels
from orchestrator.comparison.points import Arm, by_rate, in_sweep, point_of
from orchestrator.comparison.report import report_on, verdict_of
from orchestrator.comparison.settings import differences
from orchestrator.tracking.reader import TrackedSweep
from orchestrator.tracking.records import TrialRecord

SETTINGS = {"lr": "0.001", "tokens.fingerprint": "aa", "model.fingerprint": "mm", "train_tokens": "100"}


def arm(fvus: list[float | None], variant: str = "mp", first_seed: int = 0, **settings: str) -> list[TrialRecord]:
    """A trial for each value, seeds counted from `first_seed`."""
    return [
        TrialRecord(
            model="m", hookpoint="layers.1", k=4, expansion_factor=8, variant=variant, seed=seed, history={},
            metrics={} if fvu is None else {"val/fvu": fvu}, settings=SETTINGS | settings,
        )
        for seed, fvu in enumerate(fvus, first_seed)
    ]  # fmt: skip


def only(**sweeps: list[TrialRecord]) -> Cell:
    (cell,) = judge(sweeps)
    return cell


LOW, HIGH = [0.30, 0.31, 0.32], [0.40, 0.411, 0.419]


def test_learning_rates_of_one_sweep_are_told_apart() -> None:
    records = by_rate([*arm(LOW, "topk", lr="0.01"), *arm(HIGH, "topk"), *arm(HIGH)])
    cell = only(a=records)
    assert [row.arm.variant for row in cell.rows] == ["topk (lr 0.01)", "topk (lr 0.001)", "mp (lr 0.001)"]
    assert cell.lowest == Arm("topk (lr 0.01)", "a")
    assert next(point_of(record).transcode for record in by_rate([*arm(LOW, "sst", lr="1"), *arm(LOW)]))
    assert by_rate(arm(LOW)) == arm(LOW)


def test_two_learning_rates_are_paired_by_seed() -> None:
    cell = only(a=arm(HIGH), b=arm(LOW, lr="0.01"))
    assert cell.verdict is not None and cell.verdict.paired and cell.verdict.seeds == 3
    assert cell.winner == cell.lowest == Arm("mp", "b")
    first, second = cell.rows
    assert first.above is not None and first.above.value == pytest.approx(0.1)
    assert second.above is None and not first.elsewhere


@pytest.mark.parametrize(
    ("settings", "seed", "elsewhere"),
    [
        ({"tokens.fingerprint": "bb", "train_tokens": "200"}, 0, ("tokens.fingerprint", "train_tokens")),
        ({"model.fingerprint": "nn"}, 0, ("model.fingerprint",)),
        ({"massive_multiple": "inf"}, 0, ("massive_multiple",)),
        ({"shard_tokens": "64"}, 0, ()),
        ({"lr": "0.01"}, 2, ()),
    ],
    ids=["other tokens", "another model", "other tokens kept", "another order", "one shared seed"],
)
def test_where_a_seed_is_not_the_same_to_both_the_interval_is_welchs(
    settings: dict[str, str], seed: int, elsewhere: tuple[str, ...]
) -> None:
    shared = {"shard_tokens": "32", "massive_multiple": "10.0"}
    cell = only(a=arm(HIGH, **shared), b=arm(LOW, first_seed=seed, **(shared | settings)))
    assert cell.verdict is not None and not cell.verdict.paired and cell.verdict.margin is not None
    assert cell.rows[0].elsewhere == elsewhere
    assert cell.verdict.winner == cell.lowest == Arm("mp", "b")
    assert cell.winner == (None if elsewhere else Arm("mp", "b")), "on other text nobody is known to win"


def test_equal_tokens_are_equal_whatever_they_were_asked_for_as() -> None:
    cell = only(a=arm(HIGH), b=arm(LOW, train_tokens="101"))
    assert cell.rows[0].elsewhere == () and cell.verdict is not None and cell.verdict.paired


def test_one_seed_is_lowest_and_no_winner() -> None:
    cell = only(a=arm([0.4]), b=arm([0.3], lr="0.01"))
    assert cell.lowest == Arm("mp", "b") and cell.winner is None
    assert cell.verdict is not None and cell.verdict.margin is None


@pytest.mark.parametrize("scores", ["none", "laptop"])
def test_a_trial_is_not_compared_with_itself(scores: str) -> None:
    cell = only(a=arm(LOW) + arm(HIGH, "topk"), b=arm([0.30, 0.32, None], scores=scores), c=arm(LOW, lr="1"))
    same = {row.arm: row.same_as for row in cell.rows if row.same_as}
    assert same == {Arm("mp", "b"): "a"}
    (repeated,) = (row for row in cell.rows if row.same_as)
    assert sorted(repeated.apart) == [0, pytest.approx(0.01)] and repeated.above is None
    assert cell.verdict is not None and {cell.verdict.lowest, cell.verdict.second} == {Arm("mp", "a"), Arm("mp", "c")}


def test_of_two_that_are_the_same_the_one_with_more_seeds_is_compared() -> None:
    cell = only(a=arm(LOW[:1]), b=arm(LOW), c=arm(HIGH, "topk"))
    assert [(row.arm.sweep, row.same_as) for row in cell.rows] == [("c", None), ("a", "b"), ("b", None)]
    assert cell.winner == Arm("mp", "b")


def test_what_nothing_is_known_of_is_not_taken_for_the_same() -> None:
    bare = [TrialRecord(**{**vars(record), "settings": {}}) for record in arm(LOW)]
    assert all(row.same_as is None for row in only(a=bare, b=bare).rows)


def test_transcoders_and_other_sizes_have_cells_of_their_own() -> None:
    wide = [TrialRecord(**{**vars(record), "expansion_factor": 16}) for record in arm(LOW)]
    cells = judge({"a": arm(LOW), "b": arm(LOW, "sst"), "c": wide})
    assert [(cell.point.expansion_factor, cell.point.transcode) for cell in cells] == [
        (8, False), (16, False), (8, True),
    ]  # fmt: skip
    assert all(cell.verdict is None and len(cell.rows) == 1 for cell in cells)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_named_with_its_sweep_is_still_known_for_what_it_is(variant: str) -> None:
    (record,) = arm([0.3], variant)
    (named,) = arm([0.3], in_sweep(variant, "a (b)"))
    assert point_of(named) == point_of(record) and point_of(record).transcode == VARIANTS[variant].transcode


def test_a_cell_without_any_value_has_no_lowest() -> None:
    cell = only(a=arm([None, None]), b=arm([None], lr="1"))
    assert cell.lowest is None and cell.winner is None and [row.fvu for row in cell.rows] == [None, None]


VALUES = st.lists(st.one_of(st.none(), st.floats(0.1, 0.9)), min_size=1, max_size=4)


@given(VALUES, VALUES, VALUES, st.sampled_from([{}, {"tokens.fingerprint": "bb"}]))
def test_every_arm_is_shown_and_the_winner_is_the_lowest(
    one: list[float | None], two: list[float | None], three: list[float | None], settings: dict[str, str]
) -> None:
    cell = only(a=arm(one) + arm(two, "topk"), b=arm(three, lr="1", **settings))
    assert len(cell.rows) == 3
    assert (cell.lowest is None) == all(row.fvu is None for row in cell.rows)
    assert cell.winner in (None, cell.lowest)
    if cell.verdict:
        assert cell.verdict.lead >= 0 and cell.rival is not None


def test_what_differs_is_listed_with_what_is_not_recorded() -> None:
    old = [TrialRecord(**{**vars(record), "settings": {"lr": "0.001"}}) for record in arm(LOW)]
    models: dict[str, Any] = {"a": arm(LOW) + arm(LOW, **{"model.fingerprint": "nn"}), "b": arm(LOW, lr="1"), "c": old}
    found = differences(models)
    assert found.values["lr"] == {"a": ("0.001",), "b": ("1",), "c": ("0.001",)}
    assert found.values["model.fingerprint"] == {"a": ("mm", "nn"), "b": ("mm",)}
    assert found.values.keys() == {"lr", "model.fingerprint"}
    assert found.unrecorded == {"c": ("model.fingerprint", "tokens.fingerprint", "train_tokens")}
    assert list(differences({"a": arm(LOW), "b": arm(LOW[:2], "topk")}).values) == ["variant", "seed"]


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60), min_size=1, max_size=5))
def test_labels_tell_sweeps_apart(names: list[str]) -> None:
    sweeps = [TrackedSweep(name, f"{number}" * 32, 0, [], {}) for number, name in enumerate(names)]
    found = labels(sweeps)
    assert len({*found}) == len(names)
    assert all(len(label) <= LETTERS + 9 for label in found)
    assert labels(sweeps[:1])[0] == names[0] or len(names[0]) > LETTERS


@pytest.mark.parametrize(
    ("mp", "expected"),
    [
        ([0.30, 0.31], "mp (b) by 0.1000 ± 0.0000, before topk (a), paired by 2 seeds"),
        ([0.30, 0.50], "cannot be told: 0.0050 ± 1.2071, mp (b) next to topk (a), paired by 2 seeds"),
        ([0.30], "mp (b) by 0.1000, one seed, before topk (a)"),
        ([0.40], "level, one seed, mp (b) next to topk (a)"),
    ],
    ids=["wins", "cannot be told", "one seed", "level"],
)
def test_a_verdict_names_both_where_there_are_more(mp: list[float | None], expected: str) -> None:
    sweeps = {"a": arm([0.40, 0.41], "topk") + arm([0.9, 0.8]), "b": arm(mp, lr="1")}
    report = report_on([TrackedSweep(name, name * 32, 0, records, {}) for name, records in sweeps.items()])
    assert verdict_of(report.cells[0], report) == expected
