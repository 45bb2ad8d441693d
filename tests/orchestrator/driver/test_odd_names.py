"""A whole sweep whose storage, name and models are called what a file system allows and little else does."""

import json
import os
import shutil
from pathlib import Path

import pytest

from orchestrator.driver.cli import main
from orchestrator.figures.command import main as draw_figures
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.reader import read_sweep
from sweeps.smollm_grid import PRESETS

pytestmark = pytest.mark.sweep

ODD = "x?y #1%20'\"&é[1]*$(x)|"


def test_a_sweep_of_odd_names_is_kept_shown_and_drawn(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    models = [shutil.copytree(tiny_model, tmp_path / place / (ODD + "m" * 220)) for place in ("one", "two")]
    storage, name = tmp_path / "above" / ODD, "-" + ODD
    status = main(
        "", "smollm_grid", PRESETS,
        ["--model", *map(str, models), "--storage", str(storage), f"--name={name}", "--cache-dir", str(storage / "?c"),
         "--context-length", "32", "--train-tokens", "16384", "--val-tokens", "4096", "--batch-tokens", "512",
         "--shard-tokens", "8192", "--warmup-steps", "2", "--hookpoint", "layers.1", "--k", "4", "--variant", "topk",
         "--scores", "none"],
    )  # fmt: skip
    assert status == 0, capfd.readouterr().err
    assert os.listdir(storage.parent) == [ODD], "nothing beside it"  # noqa: PTH208
    results = json.loads((storage / name / "results.json").read_text(encoding="utf-8"))["results"]
    assert {path.name for path in (storage / name / "trials").iterdir()} == set(results)
    assert len(results) == 2
    sweep = read_sweep(default_uri(storage), name)
    assert {record.model for record in sweep.records} == set(map(str, models))
    assert {record.metrics["val/fvu"] for record in sweep.records} == {found["val/fvu"] for found in results.values()}
    assert [*(storage / "?c").rglob("*.arrow")]
    assert draw_figures([sweep.run_id, "--storage", str(storage), "--out", str(tmp_path / "out")]) == 0
    assert "MLflow refused" not in capfd.readouterr().err
