"""The plan of a sweep."""

from pathlib import Path

import pytest

from orchestrator.grid.cells import cells
from orchestrator.grid.plan import duration, make_plan
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
    training = plan.seconds() - plan.extract_flops / plan.extract_rate
    assert alone / plan.concurrent * (1 - 1e-9) <= training <= alone * (1 + 1e-9)
    assert plan.seconds() > longest
    lines = plan.describe().splitlines()
    assert [line.split()[0] for line in lines[1:9]] == [cell.name for cell in grid]
    assert "8 trials" in lines[9] and "8 shards" in lines[9]


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
