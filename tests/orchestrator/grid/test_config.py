"""A sweep's config, its grid, its share of the hardware, its plan and its report."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from models.variants import VARIANTS
from orchestrator.driver.report import comparison_table
from orchestrator.errors import UserError
from orchestrator.grid.cells import Cell, cells
from orchestrator.grid.config import AXES, SweepConfig
from orchestrator.grid.hardware import Hardware, share
from orchestrator.grid.plan import duration, make_plan
from orchestrator.language_models.hookpoints import Hookpoint

NAN, INF = math.nan, math.inf


def small(**fields: Any) -> SweepConfig:
    """A config of 100 steps."""
    given = {"train_tokens": 6400, "val_tokens": 320, "context_length": 32, "shard_tokens": 1024, "batch_tokens": 62}
    return SweepConfig(**(given | {"warmup_steps": 10} | fields))


# --- what a config refuses ---

BAD = [
    *[({axis: ()}, f"{axis} ()", "at least one value") for axis in AXES],
    ({"model": ("a", "b", "a")}, "model a", "given twice"),
    ({"k": (4, 8, 8)}, "k 8", "given twice"),
    ({"seed": (1, 1)}, "seed 1", "given twice"),
    ({"variant": ("topk", "gated")}, "variant 'gated'", "allowed are topk, mp"),
    ({"k": (4, 0)}, "k 0", "1 or more"),
    ({"expansion_factor": (-2,)}, "expansion_factor -2", "1 or more"),
    ({"seed": (-1,)}, "seed -1", "from 0 to 2**32 - 1"),
    ({"seed": (2**32,)}, f"seed {2**32}", "from 0 to 2**32 - 1"),
    ({"context_length": 0}, "context_length 0", "1 or more"),
    ({"context_length": 1}, "context_length 1", "2 or more where first positions are excluded"),
    ({"batch_tokens": 0}, "batch_tokens 0", "1 or more"),
    ({"checkpoint_every": 0}, "checkpoint_every 0", "1 or more"),
    ({"dead_window_tokens": 0}, "dead_window_tokens 0", "1 or more"),
    ({"shard_tokens": 31}, "shard_tokens 31", "at least one sequence, 32 (context_length)"),
    ({"train_tokens": 31}, "train_tokens 31", "at least one sequence, 32 (context_length)"),
    ({"val_tokens": 0}, "val_tokens 0", "at least one sequence, 32 (context_length)"),
    ({"batch_tokens": 6400}, "train_tokens 6400", "one batch of 6400 (batch_tokens) once first positions are excluded"),
    ({"batch_tokens": 6401, "exclude_first": False}, "train_tokens 6400", "one batch of 6401 (batch_tokens)"),
    ({"max_failures": -1}, "max_failures -1", "0 or more"),
    *[({"massive_multiple": value}, f"massive_multiple {value}", "above 1") for value in (1.0, -2.0, NAN)],
    *[({"store_gb": value}, f"store_gb {value}", "a positive number") for value in (0.0, -1.0, NAN, INF)],
    *[({"gpus_per_trial": value}, f"gpus_per_trial {value}", "whole number") for value in (-1.0, NAN, INF, 1.5)],
    ({"shard_dtype": "bfloat16"}, "shard_dtype 'bfloat16'", "allowed are float16, float32"),
    *[({"name": name}, f"name {name!r}", "plain directory name") for name in ("", " ", "a/b", "..", ".hidden")],
    *[({"lr": value}, f"lr {value}", "a positive number") for value in (0.0, -1.0, NAN, INF)],
    ({"warmup_steps": 100}, "warmup_steps 100", "below the 100 steps"),
    ({"warmup_steps": -1}, "warmup_steps -1", "from 0"),
    ({"micro_batch_tokens": 0}, "micro_batch_tokens 0", "1 or more"),
    ({"auxk_alpha": -0.5}, "auxk_alpha -0.5", "0 or a positive number"),
]


@pytest.mark.parametrize(("fields", "start", "allowed"), BAD, ids=[f"{start}"[:40] for _, start, _ in BAD])
def test_a_bad_value_is_named_with_what_is_allowed(fields: dict[str, Any], start: str, allowed: str) -> None:
    with pytest.raises(UserError) as raised:
        small(**fields)
    message = str(raised.value)
    assert message.startswith(f"{start}: ")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "fields",
    [
        {"massive_multiple": INF},
        {"gpus_per_trial": 0.0},
        {"gpus_per_trial": 0.25},
        {"gpus_per_trial": 2.0},
        {"context_length": 1, "exclude_first": False},
        {"warmup_steps": 99},
        {"warmup_steps": 0},
        {"seed": (0, 2**32 - 1)},
        {"max_failures": 0},
        {"name": "a name.with-dots"},
    ],
    ids=str,
)
def test_the_limits_themselves_are_allowed(fields: dict[str, Any]) -> None:
    small(**fields)


def test_the_defaults_are_allowed() -> None:
    assert SweepConfig().steps > SweepConfig().warmup_steps


# --- arithmetic ---


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({}, 200 * 31 // 62),
        ({"exclude_first": False}, 6400 // 62),
        ({"train_tokens": 6431}, 100),
        ({"train_tokens": 6400 - 1}, 99),
        ({"batch_tokens": 3101, "warmup_steps": 0}, 1),
    ],
    ids=str,
)
def test_steps_are_one_pass_over_whole_sequences(fields: dict[str, Any], steps: int) -> None:
    assert small(**fields).steps == steps == small(**fields).train_config().steps


@pytest.mark.parametrize(
    ("tokens", "shard_tokens", "shards"),
    [(6400, 6400, 1), (6400, 6401, 1), (6400, 6399, 2), (6400, 1024, 7), (6400, 32, 200), (6400, 63, 200)],
)
def test_shards_hold_whole_sequences(tokens: int, shard_tokens: int, shards: int) -> None:
    cfg = small(train_tokens=tokens, val_tokens=tokens, shard_tokens=shard_tokens)
    assert cfg.shards("train") == cfg.shards("val") == shards
    assert cfg.blocks_per_shard * cfg.context_length <= shard_tokens
    assert (shards - 1) * cfg.blocks_per_shard < tokens // 32 <= shards * cfg.blocks_per_shard


@pytest.mark.parametrize(("given", "used"), [(10, 10), (3100, 3100), (3101, 3100), (10_000_000, 3100)])
def test_the_dead_window_is_at_most_half_a_run(given: int, used: int) -> None:
    cfg = small(dead_window_tokens=given)
    assert cfg.dead_window == used == cfg.train_config().dead_window_tokens


def test_text_settings_are_the_configs() -> None:
    text = small(dataset="a", dataset_config="b", dataset_split="c", text_column="d", streaming=True).text_config()
    given = (text.dataset, text.dataset_config, text.dataset_split, text.text_column, text.streaming)
    assert given == ("a", "b", "c", "d", True)


# --- JSON ---


def test_every_field_comes_back_from_json() -> None:
    cfg = SweepConfig(
        model=("a/b", "c"), hookpoint=("layers.*", "layers.1:in"), k=(1, 2), expansion_factor=(3,), variant=("mp",),
        seed=(4, 5), dataset="d", dataset_config="e", dataset_split="f", text_column="g", streaming=True,
        context_length=33, train_tokens=6401, val_tokens=321, batch_tokens=63, micro_batch_tokens=7, lr=1e-5,
        warmup_steps=9, auxk_alpha=0.03, dead_window_tokens=11, shard_tokens=1025, shard_dtype="float32",
        exclude_first=False, massive_multiple=INF, store_gb=0.5, cache_dir=Path("cache/x"), gpus_per_trial=0.5,
        checkpoint_every=12, max_failures=1, storage=Path("/elsewhere"), tracking_uri="http://host:5000", name="n",
    )  # fmt: skip
    default = SweepConfig()
    for field in dataclasses.fields(SweepConfig):
        assert getattr(cfg, field.name) != getattr(default, field.name), f"{field.name} is not tested"
    assert SweepConfig.from_json(json.dumps(cfg.to_json())) == cfg
    assert SweepConfig.from_json(json.dumps(default.to_json())) == default


@pytest.mark.parametrize(
    "uri",
    ["https://me:hunter2@host/path", "postgresql://me:hunter2@host/db", "https://host/path?token=hunter2"],
)
def test_json_has_no_credentials(uri: str) -> None:
    text = json.dumps(small(tracking_uri=uri).to_json())
    assert "hunter2" not in text
    assert "host/" in text
    assert "host/" in str(SweepConfig.from_json(text).tracking_uri)


def test_fields_of_another_version_are_refused() -> None:
    text = json.dumps(small().to_json() | {"sparsity": 1, "gate": 2})
    with pytest.raises(UserError, match=r"^sweep.json: unknown fields gate, sparsity; .*another version"):
        SweepConfig.from_json(text)


# --- the grid ---

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


# --- hardware ---


def hardware(gpus: int, *, cluster: bool = False, cpus: int = 8, nodes: int = 1) -> Hardware:
    return Hardware(cpus, gpus, nodes, cluster)


@pytest.mark.parametrize(
    ("gpus", "per_trial", "trial_gpus", "concurrent", "extractors", "extractor_gpus"),
    [
        (1, None, 0.9, 1, 1, 0.1),
        (1, 0.9, 0.9, 1, 1, 0.1),
        (1, 0.3, 0.3, 3, 1, 0.1),
        (1, 0.1, 0.1, 9, 1, 0.1),
        (2, None, 0.9, 2, 1, 0.1),
        (2, 1.0, 1.0, 1, 1, 0.1),
        (2, 0.5, 0.5, 3, 1, 0.1),
        (2, 0.7, 0.7, 2, 1, 0.1),
        (3, 2.0, 2.0, 1, 1, 0.1),
        (4, None, 1.0, 3, 1, 1.0),
        (8, None, 1.0, 7, 1, 1.0),
        (8, 0.7, 0.7, 7, 1, 1.0),
        (8, 0.25, 0.25, 28, 1, 1.0),
        (8, 7.0, 7.0, 1, 1, 1.0),
        (9, None, 1.0, 8, 1, 1.0),
        (16, None, 1.0, 14, 2, 1.0),
        (16, 2.0, 2.0, 7, 2, 1.0),
    ],
)
def test_gpus_are_shared_by_trials_and_extractors(
    gpus: int, per_trial: float | None, trial_gpus: float, concurrent: int, extractors: int, extractor_gpus: float
) -> None:
    shares = share(hardware(gpus), per_trial)
    assert shares.trial == {"cpu": 1, "gpu": pytest.approx(trial_gpus)}
    assert (shares.concurrent, shares.extractors) == (concurrent, extractors)
    assert shares.extractor == {"num_cpus": 0, "num_gpus": extractor_gpus}
    assert concurrent * trial_gpus + extractors * extractor_gpus <= gpus + 1e-9


@pytest.mark.parametrize(
    ("gpus", "per_trial", "most"),
    [(1, 1.0, "0.9"), (1, 0.95, "0.9"), (1, 2.0, "0.9"), (2, 2.0, "1"), (8, 8.0, "7"), (16, 15.0, "14")],
)
@pytest.mark.parametrize("cluster", [False, True], ids=["machine", "cluster"])
def test_trials_too_large_for_the_gpus_are_refused(gpus: int, per_trial: float, most: str, cluster: bool) -> None:
    with pytest.raises(UserError, match=rf"^gpus_per_trial {per_trial:g}: must be at most {most} of .* {gpus},"):
        share(hardware(gpus, cluster=cluster), per_trial)


@pytest.mark.parametrize(
    ("cpus", "nodes", "extractors", "threads"), [(1, 1, 1, 1), (2, 1, 2, 1), (16, 1, 4, 4), (16, 2, 8, 2), (2, 3, 3, 1)]
)
def test_without_gpus_few_extractors_share_the_cores(cpus: int, nodes: int, extractors: int, threads: int) -> None:
    shares = share(hardware(0, cluster=nodes > 1, cpus=cpus, nodes=nodes), None)
    assert (shares.extractors, shares.extractor_threads) == (extractors, threads)


@pytest.mark.parametrize(("gpus", "per_trial"), [(0, None), (0, 0.0), (4, 0.0)])
def test_without_gpus_every_core_has_a_trial(gpus: int, per_trial: float | None) -> None:
    shares = share(hardware(gpus, cpus=6, nodes=2), per_trial)
    assert shares.trial == {"cpu": 1}
    assert shares.concurrent == 6
    assert (shares.extractors, shares.extractor_threads, shares.extractor["num_cpus"]) == (6, 1, 0)


def test_a_machine_without_gpus_cannot_give_any() -> None:
    with pytest.raises(UserError, match=r"^gpus_per_trial 1: there is no GPU; leave it out to train on CPU cores$"):
        share(hardware(0), 1.0)


@pytest.mark.parametrize("per_trial", [0.5, 1.0, 4.0])
def test_a_cluster_that_has_no_gpu_yet_is_asked_for_them(per_trial: float) -> None:
    shares = share(hardware(0, cluster=True), per_trial)
    assert shares.trial == {"cpu": 1, "gpu": per_trial}
    assert shares.concurrent == shares.extractors == 1
    assert shares.extractor["num_gpus"] > 0


def test_a_cluster_whose_head_has_no_core_runs_one_trial_at_least() -> None:
    assert share(hardware(0, cluster=True, cpus=0), None).concurrent == 1


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (hardware(0), "this machine with 8 CPU cores and no GPUs"),
        (hardware(1), "this machine with 8 CPU cores and 1 GPU"),
        (hardware(16, cluster=True, nodes=2), "a Ray cluster of 2 nodes with 8 CPU cores and 16 GPUs"),
    ],
)
def test_hardware_in_words(found: Hardware, said: str) -> None:
    assert found.describe() == said


# --- the plan ---


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


# --- the report ---


def grid_of(**axes: tuple[Any, ...]) -> list[Cell]:
    given = {"hookpoint": ("layers.1",), "k": (4,), "expansion_factor": (8,), "variant": ("mp", "topk"), "seed": (0,)}
    found = {**given, **axes}
    points = {
        model: [Hookpoint(name, 32) for name in found["hookpoint"]] for model in found.get("model", ("packaged",))
    }
    return cells(small(**found), points)


def scored(grid: list[Cell]) -> dict[str, dict[str, float]]:
    return {cell.name: {"val/fvu": round((0.5 if cell.variant == "mp" else 0.6) / cell.k, 4)} for cell in grid}


def rows(table: str) -> list[list[str]]:
    return [[entry.strip() for entry in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]


def test_the_lowest_is_named_with_its_lead() -> None:
    grid = grid_of(k=(16, 4), hookpoint=("layers.2", "layers.1"))
    header, rule, *found = rows(comparison_table(grid, scored(grid)))
    assert header == ["hookpoint", "expansion", "k", "topk FVU", "mp FVU", "lowest"]
    assert set(rule) == {"---"} and len(rule) == len(header)
    assert found == [
        ["layers.1", "8", "4", "0.1500", "0.1250", "mp by 0.0250"],
        ["layers.1", "8", "16", "0.0375", "0.0312", "mp by 0.0063"],
        ["layers.2", "8", "4", "0.1500", "0.1250", "mp by 0.0250"],
        ["layers.2", "8", "16", "0.0375", "0.0312", "mp by 0.0063"],
    ]


def test_expansions_are_in_order_of_size() -> None:
    grid = grid_of(expansion_factor=(128, 8, 16))
    assert [row[1] for row in rows(comparison_table(grid, {}))[2:]] == ["8", "16", "128"]


@pytest.mark.parametrize("missing", [{}, {"failure": "NaN"}], ids=["absent", "failed"])
def test_a_missing_trial_leaves_a_dash_and_no_winner(missing: dict[str, str]) -> None:
    grid = grid_of()
    results: dict[str, dict[str, Any]] = scored(grid)
    results[next(cell.name for cell in grid if cell.variant == "mp")] = missing
    assert rows(comparison_table(grid, results))[2:] == [["layers.1", "8", "4", "0.1500", "-", "-"]]
    assert rows(comparison_table(grid, {}))[2:] == [["layers.1", "8", "4", "-", "-", "-"]]


def test_seeds_are_averaged_and_said() -> None:
    grid = grid_of(seed=(0, 1))
    results = {cell.name: {"val/fvu": 0.2 + 0.1 * cell.seed + 0.3 * (cell.variant == "mp")} for cell in grid}
    table = comparison_table(grid, results)
    assert rows(table)[2:] == [["layers.1", "8", "4", "0.2500", "0.5500", "topk by 0.3000"]]
    assert table.endswith("\n\nMean of 2 seeds.")
    del results[next(cell.name for cell in grid if cell.variant == "mp" and cell.seed == 1)]
    assert rows(comparison_table(grid, results))[2:] == [["layers.1", "8", "4", "0.2500", "-", "-"]]


def test_one_variant_has_no_rival() -> None:
    grid = grid_of(variant=("mp",))
    table = comparison_table(grid, scored(grid))
    assert rows(table)[0] == ["hookpoint", "expansion", "k", "mp FVU", "lowest"]
    assert rows(table)[2:] == [["layers.1", "8", "4", "0.1250", "-"]]
    assert "seeds" not in table


def test_several_models_are_told_apart() -> None:
    grid = grid_of(model=("a/x", "b/y"))
    assert [row[0] for row in rows(comparison_table(grid, scored(grid)))[2:]] == ["a/x layers.1", "b/y layers.1"]
