"""What a person's shell exports changes nothing that a sweep prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.tracking.addresses import default_uri
from tests.support.waiting import LIMIT_SECONDS

SCRIPT = Path(__file__).parents[3] / "sweeps" / "toy_hierarchy.py"
ENVIRONMENTS = {
    "a notebook's backend, ASCII output, and a temporary directory that is gone": {
        "MPLBACKEND": "module://no_such_inline.backend_inline", "PYTHONIOENCODING": "ascii", "TMPDIR": "/nowhere",
    },
    "a backend nobody has, the C locale, and warnings that are errors": {
        "MPLBACKEND": "nonsense", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
        "PYTHONWARNINGS": "error",
    },
}  # fmt: skip


def plan(**environment: str) -> str:
    words = [sys.executable, str(SCRIPT), "--plan"]
    done = subprocess.run(words, capture_output=True, timeout=LIMIT_SECONDS, env=os.environ | environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture(scope="module")
def undisturbed() -> str:
    return plan()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_changes_nothing(name: str, undisturbed: str) -> None:
    assert plan(**ENVIRONMENTS[name]) == undisturbed


def test_python_without_docstrings_is_told_in_one_line() -> None:
    words = [sys.executable, "-OO", str(SCRIPT), "--plan"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    said = "error: PYTHONOPTIMIZE 2: Ray needs docstrings; set it to 1, or to nothing\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_the_tracking_uri_of_the_environment_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5001")
    assert default_uri(tmp_path) == "http://127.0.0.1:5001"


@pytest.mark.sweep
def test_warnings_that_are_errors_do_not_keep_a_sweep_from_mlflow(tmp_path: Path) -> None:
    words = [
        sys.executable, str(SCRIPT), "--preset", "laptop", "--storage", str(tmp_path), "--name", "strict", "--k", "2",
        "--variant", "topk", "--seed", "0", "--train-tokens", "4096", "--val-tokens", "512", "--warmup-steps", "1",
    ]  # fmt: skip
    strict = os.environ | {"PYTHONWARNINGS": "error"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_SECONDS, env=strict, check=False)
    assert done.returncode == 0, done.stderr
    assert "wait for MLflow" not in done.stdout
    assert (tmp_path / "mlflow.db").is_file()


def test_a_script_without_standard_output_runs(tmp_path: Path) -> None:
    command = f"{sys.executable} {SCRIPT} --plan >&-"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, timeout=LIMIT_SECONDS, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_a_limit_of_addresses_is_told_before_ray_crashes(tmp_path: Path) -> None:
    script = SCRIPT.with_name("smollm_grid.py")
    command = f"ulimit -v 8000000; exec {sys.executable} {script} --preset laptop --storage {tmp_path} --name low"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ulimit -v 8000000: Ray maps some ")
    assert not (tmp_path / "low").exists()
