"""A sweep's config, its grid, its share of the hardware, its plan and its report."""

import dataclasses
import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.grid.base_config import MAX_STORAGE_BYTES
from orchestrator.grid.config import AXES, SweepConfig
from tests.support.configs import small

NAN, INF = math.nan, math.inf


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
    ({"log_every": 0}, "log_every 0", "1 or more"),
    ({"dead_window_tokens": 0}, "dead_window_tokens 0", "1 or more"),
    ({"shard_tokens": 31}, "shard_tokens 31", "at least one sequence, 32 (context_length)"),
    ({"train_tokens": 31}, "train_tokens 31", "at least one sequence, 32 (context_length)"),
    ({"val_tokens": 0}, "val_tokens 0", "at least one sequence, 32 (context_length)"),
    ({"batch_tokens": 6400}, "train_tokens 6400", "one batch of 6400 (batch_tokens) once first positions are excluded"),
    ({"batch_tokens": 6401, "exclude_first": False}, "train_tokens 6400", "one batch of 6401 (batch_tokens)"),
    ({"max_failures": -1}, "max_failures -1", "0 or more"),
    ({"scores": "all"}, "scores 'all'", "none, laptop, study, inference"),
    *[({"massive_multiple": value}, f"massive_multiple {value}", "above 1") for value in (1.0, -2.0, NAN)],
    *[({"store_gb": value}, f"store_gb {value}", "a positive number") for value in (0.0, -1.0, NAN, INF)],
    *[({"gpus_per_trial": value}, f"gpus_per_trial {value}", "whole number") for value in (-1.0, NAN, INF, 1.5)],
    ({"shard_dtype": "bfloat16"}, "shard_dtype 'bfloat16'", "allowed are float16, float32"),
    *[({"name": name}, f"name {name!r}", "plain directory name") for name in ("", " ", "a/b", "..", ".hidden")],
    *[({"lr": (0.1, value)}, f"lr {value}", "a positive number") for value in (0.0, -1.0, NAN, INF)],
    ({"lr": (0.1, 0.1)}, "lr 0.1", "given twice"),
    ({"scores": "inference", "scorer": ("fuzz",)}, "scorer 'fuzz'", "laptop or study"),
    ({"epochs": 0}, "epochs 0", "1 or more"),
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
        ({"epochs": 3}, 300),
        ({"epochs": 3, "train_tokens": 6400 - 1}, 3 * 199 * 31 // 62),
    ],
    ids=str,
)
def test_steps_are_passes_over_whole_sequences(fields: dict[str, Any], steps: int) -> None:
    assert small(**fields).steps == steps == small(**fields).train_config(1e-3).steps


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
    assert cfg.dead_window == used == cfg.train_config(1e-3).dead_window_tokens


def test_text_settings_are_the_configs() -> None:
    text = small(dataset="a", dataset_config="b", dataset_split="c", text_column="d", streaming=True).text_config()
    given = (text.dataset, text.dataset_config, text.dataset_split, text.text_column, text.streaming)
    assert given == ("a", "b", "c", "d", True)


# --- JSON ---


def test_every_field_comes_back_from_json() -> None:
    cfg = SweepConfig(
        model=("a/b", "c"), hookpoint=("layers.*", "layers.1:in"), k=(1, 2), expansion_factor=(3,), variant=("mp",),
        seed=(4, 5), dataset="d", dataset_config="e", dataset_split="f", text_column="g", streaming=True,
        context_length=33, train_tokens=6401, val_tokens=321, batch_tokens=63, micro_batch_tokens=7, lr=(1e-5, 2e-5),
        epochs=2, warmup_steps=9, auxk_alpha=0.03, dead_window_tokens=11, shard_tokens=1025, shard_dtype="float32",
        exclude_first=False, massive_multiple=INF, store_gb=0.5, cache_dir=Path("cache/x"), gpus_per_trial=0.5,
        explainer="transformers:packaged", scorer=("fuzz",), scores="study",
        checkpoint_every=12, log_every=3, max_failures=1, storage=Path("/elsewhere"),
        tracking_uri="http://host:5000", name="n",
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


def test_a_learning_rate_by_itself_is_read_and_told_as_before() -> None:
    """Sweeps of versions in which all trials had the same are resumed, and filters on `params.lr` hold."""
    text = json.dumps(small().to_json() | {"lr": 0.003})
    cfg = SweepConfig.from_json(text)
    assert (cfg.lr, cfg.params()["lr"]) == ((0.003,), 0.003)
    assert small(lr=(0.1, 0.2)).params()["lr"] == (0.1, 0.2)
    assert "lr" not in cfg.distinguishing()


def test_how_trials_are_trained_is_said_in_a_sentence() -> None:
    assert small().training == "Trained for 100 steps of 62 tokens, one pass, learning rate 0.001."
    several = small(epochs=2, lr=(0.001, 0.01)).training
    assert several == "Trained for 200 steps of 62 tokens, 2 passes, learning rates 0.001, 0.01."


def test_fields_of_another_version_are_refused() -> None:
    text = json.dumps(small().to_json() | {"sparsity": 1, "gate": 2})
    with pytest.raises(UserError, match=r"^sweep.json: unknown fields gate, sparsity; .*another version"):
        SweepConfig.from_json(text)


def test_a_storage_is_as_deep_as_sqlite_goes(tmp_path: Path) -> None:
    length = MAX_STORAGE_BYTES - len(str(tmp_path / "x" / "y"))
    deepest = tmp_path / "x" / ("y" * (length // 2)) / ("z" * (length - length // 2))
    deepest.mkdir(parents=True)
    assert len(str(deepest)) == MAX_STORAGE_BYTES
    with closing(sqlite3.connect(deepest / "mlflow.db")) as store:
        store.execute("CREATE TABLE t (a)")
        store.commit()
    assert SweepConfig(storage=deepest).storage == deepest
    deeper = deepest.with_name(deepest.name + "z")
    with pytest.raises(UserError, match=r"^storage '\.\.\.z{20}': its path has 495 bytes; SQLite takes 494$"):
        SweepConfig(storage=deeper)
    assert SweepConfig(storage=deeper, tracking_uri="http://host").storage == deeper


@pytest.mark.parametrize("given", [".", "..", "./", "../.."])
def test_a_model_without_a_name_is_spelt_out(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llama" / "b" / "c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "llama" / "b" / "c")
    (model,) = SweepConfig(model=(given,)).model
    assert Path(model).is_absolute() and Path(model).name and Path(model).samefile(given)
    assert SweepConfig(model=("../c",)).model == ("../c",)
