"""Whole sweeps that cannot end well: without memory, of activations that are no numbers, or before they begin."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.support.sweeps import command, finish, results, runs_of, until
from tests.support.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


def test_what_is_interrupted_before_it_begins_leaves_nothing(tiny_model: Path, storage: Path) -> None:
    process = subprocess.Popen(command(tiny_model, storage, "early"), stderr=subprocess.PIPE, text=True)
    until((storage / "early").is_dir, process)
    process.terminate()
    _, errors = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 143
    assert errors.splitlines()[-1] == "interrupted; nothing had begun"
    assert not (storage / "early").exists()


def test_a_machine_without_memory_ends_a_sweep_with_one_reason(tiny_model: Path, storage: Path) -> None:
    words = command(tiny_model, storage, "no-memory", "--max-failures", "1")
    everything_is_too_much = os.environ | {"RAY_memory_usage_threshold": "0.01"}
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=LIMIT_SECONDS, env=everything_is_too_much, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 4
    assert any("killed for memory; smaller --shard-tokens" in line for line in failed)


def test_nan_activations_fail_their_trials_only(tiny_model: Path, storage: Path, tmp_path: Path) -> None:
    poisoned = tmp_path / "poisoned"
    shutil.copytree(tiny_model, poisoned)
    weights = load_file(poisoned / "model.safetensors")
    weights["model.layers.2.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(weights, poisoned / "model.safetensors", {"format": "pt"})
    output = finish(*command(poisoned, storage, "poisoned", "--quiet"), expect=1)
    found = results(storage, "poisoned")
    failed = {name for name, result in found.items() if "failure" in result}
    assert failed == {name for name in found if "layers.2.mlp" in name}
    assert "hookpoint layers.2.mlp: " in output
    log = [line for line in output.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert len(log) == len(failed)  # --quiet: that each failed, and nothing else
    assert all(" failed: hookpoint layers.2.mlp: " in line for line in log)
    assert "at a time" not in output and "| layers.1 | 8 | 4 |" in output
    for run in runs_of(storage, "poisoned"):
        if run.info.run_name in found:
            assert run.info.status == ("FAILED" if run.info.run_name in failed else "FINISHED")
            assert ("NaN" in run.data.tags.get("failure_reason", "")) == (run.info.run_name in failed)
