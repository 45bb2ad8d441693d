"""The cells of a grid, their order and what they are predicted to cost."""

import dataclasses
import json
from pathlib import Path

import pytest

from models.variants import VARIANTS
from orchestrator.errors import UserError
from orchestrator.grid.cells import Cell, cells, costs
from orchestrator.grid.config import AXES
from orchestrator.language_models.hookpoints import Hookpoint
from tests.support.configs import small

CPU = costs(gpu=False)
POINTS = {"packaged": [Hookpoint("layers.1", 32), Hookpoint("layers.1.mlp:in", 64)]}


def test_the_grid_is_every_combination_once() -> None:
    cfg = small(k=(4, 8), expansion_factor=(2, 4), seed=(0, 1))
    grid = cells(cfg, POINTS)
    assert len(grid) == len({cell.name for cell in grid}) == 2**5
    assert all(set("/: ").isdisjoint(cell.name) for cell in grid)
    for cell in grid:
        assert cell.d_in == {point.name: point.width for point in POINTS["packaged"]}[cell.hookpoint]
        assert Cell(**json.loads(json.dumps(cell.to_json()))) == cell
        assert tuple(cell.params) == (*AXES, "lr")
        assert (cell.coder.variant, cell.coder.k) == (cell.variant, cell.k)
        assert cell.coder.latents(cell.d_in) == cell.expansion_factor * cell.d_in


def test_several_learning_rates_are_in_names_and_one_is_not() -> None:
    grid = cells(small(k=(4,), variant=("mp",), lr=(0.001, 3e-5)), POINTS)
    assert {(cell.name.removeprefix("packaged-layers.1-mp-k4-ef8-"), cell.lr) for cell in grid[-2:]} == {
        ("lr0.001-s0", 0.001), ("lr3e-05-s0", 3e-5),
    }  # fmt: skip
    assert {cell.params["lr"] for cell in grid} == {0.001, 3e-5}
    (one, _) = cells(small(k=(4,), variant=("mp",), lr=(3e-5,)), POINTS)
    assert (one.lr, "lr" in one.name) == (3e-5, False)


def test_the_longest_trial_comes_first() -> None:
    cfg = small(k=(4, 16), expansion_factor=(2, 16), batch_tokens=62)
    grid = cells(cfg, POINTS)
    work = [cell.step_flops(cfg.batch_tokens, CPU) for cell in grid]
    assert work == sorted(work, reverse=True)
    assert (grid[0].variant, grid[0].k, grid[0].expansion_factor, grid[0].d_in) == ("mp", 16, 16, 64)
    assert (grid[-1].variant, grid[-1].k, grid[-1].expansion_factor, grid[-1].d_in) == ("topk", 4, 2, 32)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("axis", ["k", "expansion_factor", "d_in"])
def test_more_costs_more(axis: str, variant: str) -> None:
    cell = Cell("m", "layers.1", 8, 8, variant, 0, 64)
    larger = dataclasses.replace(cell, **{axis: 2 * getattr(cell, axis)})
    assert 0 < cell.step_flops(512, CPU) < larger.step_flops(512, CPU)
    assert cell.step_flops(512, CPU) < cell.step_flops(1024, CPU)
    assert 0 < cell.memory_bytes(512, CPU) <= larger.memory_bytes(512, CPU)


def test_work_and_memory_follow_what_a_variant_has() -> None:
    by_variant = {variant: Cell("m", "layers.1.mlp", 8, 8, variant, 0, 64) for variant in VARIANTS}
    work = {variant: cell.step_flops(512, CPU) for variant, cell in by_variant.items()}
    memory = {variant: cell.memory_bytes(512, CPU) for variant, cell in by_variant.items()}
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


@pytest.mark.parametrize("models", [("a/llama", "b/llama"), ("x/a b/m", "x/a_b/m"), ("a", "b/a/", "./a")])
def test_models_of_one_name_have_trials_of_their_own(models: tuple[str, ...]) -> None:
    cfg = small(model=(*models, "another"))
    grid = cells(cfg, dict.fromkeys(cfg.model, POINTS["packaged"]))
    assert len(grid) == len({cell.name for cell in grid}) == 4 * len(cfg.model)
    assert all(set("/: ").isdisjoint(cell.name) for cell in grid)
    assert {cell.name for cell in grid} == {
        cell.name for cell in cells(cfg, dict.fromkeys(cfg.model, POINTS["packaged"]))
    }
    assert [Cell(**json.loads(json.dumps(cell.to_json()))).name for cell in grid] == [cell.name for cell in grid]


def test_hookpoints_that_differ_in_a_sign_only_have_trials_of_their_own() -> None:
    points = [Hookpoint(name, 32) for name in ("layers.1.mlp:in", "layers.1.mlp_in", "layers.2")]
    names = {cell.name for cell in cells(small(variant=("topk",)), {"packaged": points})}
    assert len(names) == 3
    assert "packaged-layers.2-topk-k32-ef8-s0" in names


def test_names_of_trials_stay_as_they_were() -> None:
    """A sweep is resumed by them."""
    cfg = small(model=("org/llama", "/data/gpt 2"), variant=("mp",))
    assert {cell.name for cell in cells(cfg, dict.fromkeys(cfg.model, POINTS["packaged"]))} == {
        f"{model}-{hookpoint}-mp-k32-ef8-s0"
        for model in ("llama", "gpt_2") for hookpoint in ("layers.1", "layers.1.mlp_in")
    }  # fmt: skip


def test_a_name_is_cut_to_what_a_file_system_takes() -> None:
    points = [Hookpoint(f"{'a' * 300}.{last}", 32) for last in ("b", "c")]
    names = {cell.name for cell in cells(small(k=(4, 8)), {"m" * 200: points})}
    assert len(names) == 8
    assert max(map(len, names)) == 255


def test_one_directory_written_in_two_ways_is_refused(tmp_path: Path) -> None:
    models = (str(tmp_path), f"{tmp_path}/../{tmp_path.name}")
    with pytest.raises(UserError, match=r"^model '.*': is the same directory as '.*'$"):
        cells(small(model=models), dict.fromkeys(models, POINTS["packaged"]))
