"""Whole sweeps as processes: their command line, what they leave, and what runs below them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.support.waiting import LIMIT_SECONDS

SCRIPT = Path(__file__).parents[2] / "sweeps" / "smollm_grid.py"


SIZES = {
    "--context-length": "32", "--train-tokens": "49152", "--val-tokens": "8192", "--batch-tokens": "128",
    "--shard-tokens": "8192", "--warmup-steps": "10", "--checkpoint-every": "25",
    "--scores": "none",
}  # fmt: skip


GRID = {"--hookpoint": "layers.1 layers.2.mlp", "--k": "4", "--expansion-factor": "8", "--variant": "topk mp"}


SHARDS = 6 + 1  # training and held-out


def command(model: Path, storage: Path, name: str, *more: str) -> list[str]:
    flags = {"--model": str(model), "--storage": str(storage), "--name": name, **GRID, **SIZES}
    words = [word for flag, values in flags.items() if flag not in more for word in (flag, *values.split())]
    return [sys.executable, str(SCRIPT), *words, *more]


def finish(*arguments: str, expect: int = 0, cwd: Path | None = None) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT_SECONDS, cwd=cwd)
    assert done.returncode == expect, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def results(storage: Path, name: str) -> dict[str, dict[str, float]]:
    return json.loads((storage / name / "results.json").read_text(encoding="utf-8"))["results"]


def gone(processes: set[psutil.Process], seconds: float = LIMIT_SECONDS) -> None:
    """Wait for processes to end: Ray's do so by themselves once their parent has.

    Not for their ids, which others may have by then.
    """
    end = time.monotonic() + seconds
    while left := [process for process in processes if process.is_running()]:
        assert time.monotonic() < end, left
        time.sleep(0.1)


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert process.poll() is None, "the sweep ended before it could be disturbed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def descendants(root: int) -> Iterator[tuple[int, str]]:
    """Process ids and command lines below `root`."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor != root:
            ancestor = parents[ancestor]
        if ancestor == root and pid != root:
            with suppress(OSError, ValueError):
                yield pid, Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()


def finished(directory: Path) -> list[Path]:
    return [path.parent for path in directory.glob("trials/*/result.json")]


def half_done(directory: Path) -> list[Path]:
    """Trials that have a checkpoint and no result."""
    trials = [path.parent for path in directory.glob("trials/*/step-*")]
    return [trial for trial in trials if not (trial / "result.json").exists()]


def runs_of(storage: Path, sweep: str, uri: str | None = None) -> list[Run]:
    client = MlflowClient(uri or f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("smollm_grid")
    return [run for run in client.search_runs([experiment.experiment_id]) if run.data.tags["sweep.name"] == sweep]
