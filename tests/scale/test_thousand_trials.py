"""A sweep of 1,000 trials on real Ray and MLflow: nothing is lost or doubled, its driver's cost grows evenly.

`TRIALS` in the environment is another number of them, in tens; figures go to the file `OUT`, if named, and are printed.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.support.sweeps import SCRIPT, command, results
from tests.support.watched import Sample, at, watch

pytestmark = [pytest.mark.scale, pytest.mark.timeout(7200)]

TRIALS = int(os.environ.get("TRIALS", "1000"))
KS = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
SIZES = {
    "--hookpoint": "layers.1", "--expansion-factor": "2", "--variant": "topk", "--context-length": "32",
    "--train-tokens": "2048", "--val-tokens": "1024", "--batch-tokens": "128", "--shard-tokens": "1024",
    "--warmup-steps": "2",
}  # fmt: skip
MOST_MIB_PER_TRIAL = 0.25
"""Memory that the driver may keep of a trial."""
UNEVEN = 2.0
"""Times as much processor time that the later half of the trials may take from the driver's first thread.

That of the thread that sends to MLflow is figures only: how much of it falls into which half is for the machine to say.
"""


@pytest.fixture(scope="module")
def ended(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    """The storage of a sweep that has ended well, and what its driver needed."""
    storage = tmp_path_factory.mktemp("thousand")
    grid = [*("--k", *KS), *("--seed", *map(str, range(TRIALS // len(KS))))]
    sizes = [word for pair in SIZES.items() for word in pair]
    trials = storage / "many" / "trials"
    with (storage / "said").open("wb") as said:
        process = subprocess.Popen(command(tiny_model, storage, "many", *sizes, *grid), stdout=said, stderr=said)
        samples = watch(process, lambda: len(list(trials.glob("*/result.json"))))
    text = (storage / "said").read_text(encoding="utf-8")
    assert process.returncode == 0, text[-4000:]
    assert "wait for MLflow" not in text
    return storage, samples


@pytest.fixture(scope="module")
def runs(ended: tuple[Path, list[Sample]]) -> list[Run]:
    client = MlflowClient(f"sqlite:///{ended[0]}/mlflow.db")
    experiment = client.get_experiment_by_name(SCRIPT.stem)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=50_000))


def test_every_trial_has_a_result(ended: tuple[Path, list[Sample]]) -> None:
    found = results(ended[0], "many")
    assert len(found) == TRIALS
    assert [name for name, result in found.items() if not result.get("val/fvu", 2) < 2] == []


def test_mlflow_has_every_run_once_with_its_metrics(ended: tuple[Path, list[Sample]], runs: list[Run]) -> None:
    found = results(ended[0], "many")
    names = Counter(run.info.run_name for run in runs)
    assert names == Counter(["many", *found])
    assert Counter(run.info.status for run in runs) == {"FINISHED": 1 + TRIALS}
    for run in runs:
        if (result := found.get(run.info.run_name)) is not None:
            assert run.data.metrics["val/fvu"] == result["val/fvu"]
            assert {"train/fvu", "train_seconds", "l0"} <= run.data.metrics.keys()
            assert run.data.params["seed"] == run.info.run_name.rpartition("-s")[2]


def test_the_driver_needs_as_much_of_the_last_trial_as_of_the_first(
    ended: tuple[Path, list[Sample]], runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    _, samples = ended
    first, half, last = (at(samples, done) for done in (1, TRIALS // 2, TRIALS))
    ended_at = samples[-1]
    steps = [run.data.metrics["train_seconds"] for run in runs if "train_seconds" in run.data.metrics]
    figures = {
        "trials": TRIALS,
        "cpus": len(os.sched_getaffinity(0)),
        "seconds_per_trial": (last.seconds - first.seconds) / TRIALS,
        "seconds_of_steps_per_trial": sum(steps) / len(steps),
        "driver_cpu_seconds_per_trial": {
            "first half": (half.cpu_seconds - first.cpu_seconds) / (TRIALS / 2),
            "second half": (last.cpu_seconds - half.cpu_seconds) / (TRIALS / 2),
            "after the last": (ended_at.cpu_seconds - last.cpu_seconds) / TRIALS,
        },
        "first_thread_cpu_seconds_per_trial": {
            "first half": (half.main_cpu_seconds - first.main_cpu_seconds) / (TRIALS / 2),
            "second half": (last.main_cpu_seconds - half.main_cpu_seconds) / (TRIALS / 2),
        },
        "at": [at(samples, done).to_json() for done in (1, 100, 500, 1000) if done <= TRIALS],
        "end": ended_at.to_json(),
        "peak_rss_mib": max(sample.rss_mib for sample in samples),
    }
    text = json.dumps(figures, indent=2)
    if place := os.environ.get("OUT"):
        Path(place).write_text(text + "\n", encoding="utf-8")
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")
    assert last.own_mib - first.own_mib < MOST_MIB_PER_TRIAL * TRIALS
    later, earlier = last.main_cpu_seconds - half.main_cpu_seconds, half.main_cpu_seconds - first.main_cpu_seconds
    assert later < UNEVEN * earlier
