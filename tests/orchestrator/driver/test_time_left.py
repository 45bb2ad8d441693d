"""Time left: sound whatever it is told, and near the truth in sweeps whose end is known."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.driver.time_left import Pace, TimeLeft
from orchestrator.grid.cells import Cell, costs
from orchestrator.grid.plan import END_SECONDS, LOADING_SECONDS, NOT_SCORED, SCORING_START_SECONDS, Plan, Scoring
from tests.support.configs import small

SHARDS = 14
LAPTOP = Scoring(40, 2048)


def plan(concurrent: int = 2, scored: Scoring = LAPTOP) -> Plan:
    """Of the laptop sweep's shape: eight trials, 14 shards, extraction, training and scoring of about two minutes."""
    cfg = small(train_tokens=12 << 14, val_tokens=2 << 14, batch_tokens=2048, shard_tokens=1 << 14)
    grid = [
        Cell("model", f"layers.{layer}", k, 8, variant, 0, 576)
        for variant in ("mp", "topk") for k in (64, 16) for layer in (1, 2)
    ]  # fmt: skip
    found = Plan(
        cells=grid, cfg=cfg, concurrent=concurrent, costs=costs(gpu=False), flops_per_second=1e12,
        other_flops_per_second=2e11, scoring_rate=1 / (1 / 1e12 + 1 / 2e11), extract_flops=1.8e13,
        extract_rate=3.6e11, model_flops={"model": 2.7e8}, scored=scored, shard_bytes={"model": 1}, extraction="",
    )  # fmt: skip
    assert found.total_shards == SHARDS
    return found


def trains(sweep: Plan, pace: float, loading: float) -> Iterator[tuple[float, dict[str, float], int]]:
    """Seconds, shares of trials and shards of a training that takes `pace` times what the plan says.

    Two thirds of the machine extract for as long as there are shards to make. Steps and shards are heard of in lumps.
    """
    shares = dict.fromkeys((cell.name for cell in sweep.cells), 0.0)
    seconds, extracted = loading, 0.0
    while min(shares.values()) < 1:
        seconds += 2.0
        extracting = 2 / 3 if extracted < sweep.extraction_seconds else 0.0
        extracted += 2.0 * extracting / pace
        room = 2.0 * (1 - extracting) / pace
        for cell in [cell for cell in sweep.cells if shares[cell.name] < 1][: sweep.concurrent]:
            shares[cell.name] = min(1.0, shares[cell.name] + room / sweep.cell_seconds(cell))
        made = min(SHARDS, int(extracted / sweep.extraction_seconds * SHARDS) // 2 * 2)
        yield seconds, {name: math.floor(share * 95) / 95 for name, share in shares.items()}, made


def scores(sweep: Plan, pace: float, began: float) -> Iterator[tuple[float, list[str], list[str]]]:
    """Seconds, and which trials are being scored and wait for it: one more than train share what those could use."""
    took = {cell.name: sweep.scoring_seconds(cell) for cell in sweep.cells}
    own_loading = SCORING_START_SECONDS * sweep.concurrent / (sweep.concurrent + 1)
    waiting, left, seconds = list(took), dict[str, float](), began
    while waiting or left:
        while waiting and len(left) <= sweep.concurrent:
            loading = own_loading if len(waiting) >= len(took) - sweep.concurrent else 0.0
            name = waiting.pop(0)
            left[name] = pace * (loading + took[name])
        yield seconds, list(left), list(waiting)
        seconds += 2.0
        own = 2.0 * min(1.0, sweep.concurrent / len(left))
        left = {name: each - own for name, each in left.items() if each > own}


@pytest.mark.parametrize(("pace", "since"), [(0.5, 0.25), (0.8, 0.15), (1.0, 0.1), (1.3, 0.1), (2.0, 0.2), (8.0, 0.2)])
@pytest.mark.parametrize("loading", [LOADING_SECONDS, 3 * LOADING_SECONDS])
def test_what_is_said_is_within_30_percent(pace: float, since: float, loading: float) -> None:
    """From the first tenth on where the plan is about right, from the first fifth or quarter where it is far off."""
    sweep = plan()
    asked, said = TimeLeft(sweep), []
    for seconds, shares, made in trains(sweep, pace, loading):
        said.append((seconds, asked.training(seconds, shares, made)))
    for seconds, running, waiting in scores(sweep, pace, said[-1][0]):
        said.append((seconds, asked.scoring(seconds, running, waiting)))
    end = said[-1][0] + END_SECONDS
    counted = [(seconds, found, end - seconds) for seconds, found in said if end * since <= seconds <= 0.97 * end - 10]
    assert len(counted) > 30
    assert [each for each in counted if not 0.7 <= each[1] / each[2] <= 1.3] == []


def test_what_was_on_disk_is_no_work_done() -> None:
    sweep = plan()
    asked = TimeLeft(sweep)
    first = {sweep.cells[0].name: 0.1}
    asked.training(10.0, first)
    before = asked.training(11.0, first)
    after = asked.training(12.0, first, from_disk=SHARDS)
    assert before - after == pytest.approx(sweep.extraction_seconds, abs=3)


def test_trials_that_failed_teach_nothing_and_are_not_waited_for() -> None:
    sweep = plan()
    asked = TimeLeft(sweep)
    shares = {cell.name: 0.1 for cell in sweep.cells[:2]}
    asked.training(10.0, shares, SHARDS)
    before = asked.training(10.1, shares, SHARDS)
    failed = [cell.name for cell in sweep.cells[:4]]
    rest = sweep.training_left(dict.fromkeys(failed, 1.0)) + sweep.scoring_left(failed) + END_SECONDS
    assert asked.training(10.2, shares, SHARDS, failed=failed) == pytest.approx(rest, rel=0.02)
    assert rest < before


def test_a_pace_believes_until_it_has_seen() -> None:
    pace = Pace(100.0, 2.0)
    assert pace.value == 2.0
    for _ in range(100):
        pace.learn(3.0, 1.0)
    assert pace.value == pytest.approx(3.0, rel=0.02)


def test_the_end_is_0() -> None:
    sweep = plan()
    everything = {cell.name for cell in sweep.cells}
    assert TimeLeft(sweep, everything, everything).scoring(5.0, [], []) == 0.0
    asked = TimeLeft(sweep)
    asked.scoring(0.0, [sweep.cells[0].name], [])
    assert asked.scoring(9.0, [], []) == 0.0


TOLD = st.lists(
    st.tuples(
        st.floats(0, 1e6), st.lists(st.floats(0, 1), min_size=8, max_size=8), st.integers(0, 40), st.integers(0, 40),
        st.integers(0, 3),
    ),
    max_size=30,
)  # fmt: skip


@given(told=TOLD, concurrent=st.integers(1, 12), scored=st.sampled_from([NOT_SCORED, LAPTOP]))
def test_it_is_a_finite_number_from_0_on_whatever_comes(
    told: list[tuple[float, list[float], int, int, int]], concurrent: int, scored: Scoring
) -> None:
    """Steps that go back, shards that are made again, a clock that stands: whatever a sweep may report."""
    sweep = plan(concurrent, scored)
    names = [cell.name for cell in sweep.cells]
    asked = TimeLeft(sweep)
    for elapsed, shares, made, from_disk, failed in told:
        found = asked.training(elapsed, dict(zip(names, shares, strict=True)), made, from_disk, names[:failed])
        assert math.isfinite(found) and found >= 0
    for elapsed, _, made, _, _ in told:
        found = asked.scoring(elapsed, names[made : made + concurrent], names[made + concurrent :])
        assert math.isfinite(found) and found >= 0
    assert asked.scoring(2e6, [], []) == 0
