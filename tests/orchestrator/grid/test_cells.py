"""The cells of a grid, their order and what they are predicted to cost."""

import dataclasses
import json

import pytest

from models.variants import VARIANTS
from orchestrator.errors import UserError
from orchestrator.grid.cells import Cell, cells
from orchestrator.grid.config import AXES
from orchestrator.language_models.hookpoints import Hookpoint
from tests.support.configs import small

POINTS = {"packaged": [Hookpoint("layers.1", 32), Hookpoint("layers.1.mlp:in", 64)]}


def test_the_grid_is_every_combination_once() -> None:
    cfg = small(k=(4, 8), expansion_factor=(2, 4), seed=(0, 1))
    grid = cells(cfg, POINTS)
    assert len(grid) == len({cell.name for cell in grid}) == 2**5
    assert all(set("/: ").isdisjoint(cell.name) for cell in grid)
    for cell in grid:
        assert cell.d_in == {point.name: point.width for point in POINTS["packaged"]}[cell.hookpoint]
        assert Cell(**json.loads(json.dumps(cell.to_json()))) == cell
        assert tuple(cell.params) == AXES
        assert (cell.coder.variant, cell.coder.k) == (cell.variant, cell.k)
        assert cell.coder.latents(cell.d_in) == cell.expansion_factor * cell.d_in


def test_the_longest_trial_comes_first() -> None:
    cfg = small(k=(4, 16), expansion_factor=(2, 16), batch_tokens=62)
    grid = cells(cfg, POINTS)
    work = [cell.step_flops(cfg.batch_tokens) for cell in grid]
    assert work == sorted(work, reverse=True)
    assert (grid[0].variant, grid[0].k, grid[0].expansion_factor, grid[0].d_in) == ("mp", 16, 16, 64)
    assert (grid[-1].variant, grid[-1].k, grid[-1].expansion_factor, grid[-1].d_in) == ("topk", 4, 2, 32)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("axis", ["k", "expansion_factor", "d_in"])
def test_more_costs_more(axis: str, variant: str) -> None:
    cell = Cell("m", "layers.1", 8, 8, variant, 0, 64)
    larger = dataclasses.replace(cell, **{axis: 2 * getattr(cell, axis)})
    assert 0 < cell.step_flops(512) < larger.step_flops(512)
    assert cell.step_flops(512) < cell.step_flops(1024)
    assert 0 < cell.memory_bytes(512) <= larger.memory_bytes(512)


def test_work_and_memory_follow_what_a_variant_has() -> None:
    by_variant = {variant: Cell("m", "layers.1.mlp", 8, 8, variant, 0, 64) for variant in VARIANTS}
    work = {variant: cell.step_flops(512) for variant, cell in by_variant.items()}
    memory = {variant: cell.memory_bytes(512) for variant, cell in by_variant.items()}
    assert work["topk"] < work["mp"] < work["mp-big-decoder"]
    assert work["mp-sliced"] < work["mp"] < work["ito"]
    assert memory["omp"] < memory["ito"]
    assert memory["mp-transcoder"] < memory["mp-transcoder-separate-subtraction"] < memory["mp-big-decoder"]
    extra = memory["mp-big-decoder"] - memory["topk"]
    assert extra == 16 * 7 * 8 * 64 * 64  # weights, gradients and two moments of seven more decoders


def test_transcoders_read_the_input_of_their_module() -> None:
    for variant, recipe in VARIANTS.items():
        cell = Cell("m", "layers.1.mlp", 8, 8, variant, 0, 64)
        assert cell.source == ("layers.1.mlp:in" if recipe.transcode else "layers.1.mlp")


def test_k_beyond_the_latents_is_refused_with_the_place() -> None:
    with pytest.raises(UserError, match=r"^k 65: must be at most the number of latents, 64 \(2 × 32 at layers\.1\)$"):
        cells(small(k=(64, 65), expansion_factor=(2,)), POINTS)
    assert cells(small(k=(64,), expansion_factor=(2,)), POINTS)


def test_models_whose_trials_share_a_name_are_refused() -> None:
    cfg = small(model=("a/llama", "b/llama"))
    with pytest.raises(UserError, match=r"^model 'b/llama': .*share the name .* with 'a/llama'"):
        cells(cfg, dict.fromkeys(cfg.model, POINTS["packaged"]))
