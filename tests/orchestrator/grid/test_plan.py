"""The plan of a sweep."""

from dataclasses import replace
from pathlib import Path

import pytest

from kernels.devices import this_sheet
from orchestrator.grid.cells import cells, costs
from orchestrator.grid.plan import Scoring, duration, make_plan, makespan
from orchestrator.grid.shares import share
from orchestrator.language_models.hookpoints import Hookpoint
from tests.support.configs import hardware, small


@pytest.mark.parametrize("gpus", [0, 8])
def test_a_plan_counts_shards_bytes_and_time(gpus: int, tiny_model: Path) -> None:
    model = str(tiny_model)
    cfg = small(model=(model,), k=(4, 8))
    points = {model: [Hookpoint("layers.1", 32), Hookpoint("layers.2.mlp", 32)]}
    grid = cells(cfg, points)
    found = hardware(gpus, cpus=2)
    plan = make_plan(cfg, grid, points, found, share(found, None))
    assert plan.total_shards == 7 + 1
    assert plan.shard_bytes == {model: 2 * 1024 * (32 * 2 + 20)}
    assert plan.store_bytes == 8 * plan.shard_bytes[model]
    assert plan.extract_flops > 0
    longest, alone = plan.cell_seconds(grid[0]), sum(map(plan.cell_seconds, grid))
    training = plan.training_left({})
    assert alone / plan.concurrent * (1 - 1e-9) <= training <= alone * (1 + 1e-9)
    assert plan.seconds() > longest
    lines = plan.describe().splitlines()
    assert [line.split()[0] for line in lines[1:9]] == [cell.name for cell in grid]
    assert "8 trials" in lines[9] and "8 shards" in lines[9]


def test_a_plan_for_gpus_reckons_with_them_where_there_is_none(tiny_model: Path) -> None:
    """As on the head of a cluster."""
    model = str(tiny_model)
    cfg = small(model=(model,), variant=("topk", "mp"))
    points = {model: [Hookpoint("layers.1", 32)]}
    grid = cells(cfg, points)
    on_cores, on_gpus = (
        make_plan(cfg, grid, points, found, share(found, None)) for found in (hardware(0, cpus=2), hardware(8, cpus=2))
    )
    assert (on_cores.costs, on_gpus.costs) == (costs(gpu=False), costs(gpu=True))
    for cell in grid:
        assert on_gpus.cell_seconds(cell) < on_cores.cell_seconds(cell)
    assert on_gpus.flops_per_second == on_gpus.other_flops_per_second == this_sheet().product


def test_a_resumed_plan_counts_what_is_left(tiny_model: Path) -> None:
    model = str(tiny_model)
    cfg = small(model=(model,), k=(4, 8))
    points = {model: [Hookpoint("layers.1", 32)]}
    grid, found = cells(cfg, points), hardware(0, cpus=2)
    plan = make_plan(cfg, grid, points, found, share(found, None))
    done = {cell.name for cell in grid[1:]}
    lines = plan.describe(done).splitlines()
    assert [line.split()[0] for line in lines[1:2]] == [grid[0].name]
    assert lines[2].startswith("3 of 4 trials are done; 1 trial, ")
    assert plan.seconds(done) < plan.seconds()
    assert plan.seconds({cell.name for cell in grid}) == 0


def test_scoring_is_part_of_the_time(tiny_model: Path) -> None:
    model = str(tiny_model)
    cfg = small(model=(model,), k=(4, 8))
    points = {model: [Hookpoint("layers.1", 32)]}
    grid, found = cells(cfg, points), hardware(0, cpus=2)
    plan, unscored = (
        make_plan(cfg, grid, points, found, share(found, None), *scored) for scored in ([Scoring(40, 2048)], [])
    )
    names = {cell.name for cell in grid}
    training = plan.seconds(scored=names)
    assert plan.seconds() == pytest.approx(training + plan.scoring_left(()), rel=0.01)
    assert 0 < plan.scoring_left(names - {grid[0].name}) < plan.scoring_left(())
    assert plan.seconds(names) < plan.seconds()
    assert plan.seconds(names, names) == unscored.scoring_left(()) == 0
    assert "of which to score" in plan.describe() and "of which to score" not in unscored.describe()


def test_what_is_no_product_is_no_faster_where_products_are(tiny_model: Path) -> None:
    """As on cores with AMX."""
    model = str(tiny_model)
    cfg = small(model=(model,))
    points = {model: [Hookpoint("layers.1", 32)]}
    grid, found = cells(cfg, points), hardware(0, cpus=2)
    plan = make_plan(cfg, grid, points, found, share(found, None))
    slow, fast = (replace(plan, flops_per_second=rate) for rate in (1e8, 1e20))
    for cell in grid:
        products, work = cell.product_flops(62, plan.costs), cell.step_flops(62, plan.costs)
        assert 0 < products < work
        assert fast.cell_seconds(cell) < slow.cell_seconds(cell)
        assert fast.cell_seconds(cell) >= cfg.steps * (work - products) / plan.other_flops_per_second


@pytest.mark.parametrize(
    ("jobs", "free", "end"),
    [([], [0.0], 0), ([3, 2, 2], [0.0, 0.0], 4), ([3, 2, 2], [0.0] * 9, 3), ([1], [5.0, 2.0], 5), ([4], [5.0, 2.0], 6)],
)
def test_jobs_begin_on_what_is_free_first(jobs: list[float], free: list[float], end: float) -> None:
    assert makespan(jobs, free) == end


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (0.6, "0:01"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599.6, "1:00:00"),
        (360_061, "100:01:01"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
