"""The saved view of a sweep, in MLflow's own UI in a real browser, and what stands for it where there is none."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.driver.notes import RUN_COLOUR
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.datasets import EVALUATION, TRAINING, both_splits
from orchestrator.tracking.metrics import METRICS
from orchestrator.tracking.mlflow_store import server_version
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.views import AUTOINTERP, CE_RECOVERED, TAG
from tests.support.browser import needs_browser, texts, watched
from tests.support.mlflow_runs import EXPERIMENT, SWEEP, open_tracker
from tests.support.mlflow_server import Server
from tests.support.waiting import wait_until

TRIALS = [(hookpoint, k, variant, seed) for hookpoint in ("layers.10", "layers.20") for k in (16, 32, 64)
          for variant in ("topk", "mp") for seed in (0, 1)]  # fmt: skip

TEXT = both_splits("python-docs", "0123456789abcdef" * 2, "code", {}, {TRAINING: {"tokens": 9}, EVALUATION: {}})
MADE_BY = {"mlflow.user": "ada", "mlflow.source.name": "sweeps/grid.py", "mlflow.source.git.commit": "c0ffee" * 6,
           "mlflow.source.type": "LOCAL"}  # fmt: skip


COLOURS = {"topk": "#1f77b4", "mp": "#d62728"}


def fvu_of(k: int, variant: str, seed: int) -> float:
    return round(5 / k * (0.8 if variant == "mp" else 1.0) + seed / 1000, 4)


def name_of(hookpoint: str, k: int, variant: str, seed: int) -> str:
    return f"m-{hookpoint}-{variant}-k{k}-ef8-s{seed}"


def log_all(tracker: Tracker) -> None:
    """24 trials of a sweep, as a sweep logs them."""
    tracker.start_sweep({"model": "m"}, {}, {})
    tracker.save_view(METRICS, 2)
    for hookpoint, k, variant, seed in TRIALS:
        trial = name_of(hookpoint, k, variant, seed)
        axes = {"model": "m", "hookpoint": hookpoint, "k": k, "expansion_factor": 8, "variant": variant, "seed": seed}
        tracker.start_trial(trial, axes, {**MADE_BY, RUN_COLOUR: COLOURS[variant]}, TEXT)
        for step in (10, 20, 30):
            tracker.log_metrics(
                trial, {"train/fvu": 3 / step, "dead_pct": 1.0, "tokens_per_second": 9e3, "lr": 1e-3}, step
            )
        scores = {"val/fvu": fvu_of(k, variant, seed), AUTOINTERP: 0.75, CE_RECOVERED: 0.9, "train_seconds": 5.0}
        tracker.log_metrics(trial, scores, 30)
        tracker.log_model(trial, scores)
        tracker.end_trial(trial)
    tracker.log_metrics(None, {"shards_computed": 12, "shards_hits": 7}, 1)
    tracker.log_system_metrics({"cpu_utilization_percentage": 50.0})
    tracker.save_view({*METRICS, AUTOINTERP, CE_RECOVERED}, 2)


def views(storage: Path) -> dict[str, dict[str, object]]:
    """The saved views of the experiment, by the tag that holds them."""
    experiment = MlflowClient(default_uri(storage)).get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return {key: json.loads(value) for key, value in experiment.tags.items() if key.startswith(TAG)}


def test_a_view_is_renewed_and_not_doubled(storage: Path) -> None:
    tracker = open_tracker(storage)
    tracker.start_sweep({}, {}, {})
    tracker.save_view(METRICS, 1)
    assert tracker.finish() == 0
    ((key, first),) = views(storage).items()
    again = open_tracker(storage)
    again.save_view({*METRICS, "another"}, 1)
    assert again.finish() == 0
    ((same, second),) = views(storage).items()
    assert (same, second["name"], second["createdAt"]) == (key, SWEEP, first["createdAt"])
    assert second["updatedAt"] >= first["updatedAt"] and second["state"] != first["state"]


def test_many_metrics_fit_into_a_tag(storage: Path) -> None:
    tracker = open_tracker(storage)
    tracker.save_view([f"autointerp/scorer/some_metric_of_a_long_name_{number}" for number in range(300)], 2)
    assert tracker.finish() == 0
    assert len(views(storage)) == 2


def test_a_stranger_s_journal_sets_no_other_tag(storage: Path) -> None:
    tracker = open_tracker(storage)
    tracker._journal.append("view", None, tags={"mlflow.note.content": "mine", f"{TAG}x": "{}"})
    assert tracker.finish() == 0
    experiment = MlflowClient(default_uri(storage)).get_experiment_by_name(EXPERIMENT)
    assert set(experiment.tags) & {"mlflow.note.content", f"{TAG}x"} == {f"{TAG}x"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[tuple[Server, str]]:
    """A server with this sweep, another one and a run of somebody else's in its experiment, and the sweep's link."""
    directory = tmp_path_factory.mktemp("served")
    shutil.copy(empty_store, directory / "mlflow.db")
    server = Server(directory)
    server.start()
    wait_until(server.answers, "MLflow's server")
    other = Tracker(server.uri, EXPERIMENT, "another", directory, directory / "another")
    other.start_sweep({}, {}, {})
    other.start_trial("stranger", {"k": 7}, {})
    assert other.finish() == 0
    tracker = Tracker(server.uri, EXPERIMENT, SWEEP, directory, directory / "journal")
    log_all(tracker)
    assert tracker.finish() == 0
    url = tracker.comparison_url()
    assert url is not None and url.startswith(f"{server.uri}/#/experiments/")
    yield server, url
    server.kill()


@needs_browser
def test_the_link_opens_the_answer(served: tuple[Server, str], tmp_path: Path) -> None:
    """With no click: the trials of this sweep and no others, in three sections of charts."""
    page = texts(served[1], tmp_path)
    assert {name_of(*trial) for trial in TRIALS} <= set(page)
    assert not {"stranger", "another", SWEEP} & set(page[page.index("Run Name") :])
    assert page[page.index("matching runs") - 1] == "24"
    for section, charts in (("Who wins", 3), ("Training", 2), ("Cost", 2)):
        assert page[page.index(section) + 1] == f"({charts})"
    assert not [text for text in page if "shards" in text or "system/" in text]


@needs_browser
def test_runs_have_the_colour_of_their_variant(served: tuple[Server, str], tmp_path: Path) -> None:
    """In the list, and in the charts beside it."""
    script = """(() => {
        const coloured = (part, colour) => [...document.querySelectorAll(part)].filter(
            each => [getComputedStyle(each).backgroundColor, getComputedStyle(each).fill].includes(colour)).length;
        const found = ['rgb(31, 119, 180)', 'rgb(214, 39, 40)'].map(
            colour => [coloured('label', colour), coloured('.js-plotly-plot path', colour)]);
        return found.every(([runs, marks]) => runs === 12 && marks > 0) && JSON.stringify(found);
    })()"""
    assert json.loads(watched(served[1], tmp_path, script, "mlflow-view.png"))


@needs_browser
def test_the_table_has_the_values(served: tuple[Server, str], tmp_path: Path) -> None:
    page = texts(served[1].replace("compareRunsMode=CHART", "compareRunsMode=TABLE"), tmp_path)
    for _, k, variant, seed in TRIALS:
        assert str(fvu_of(k, variant, seed)) in page
    assert {"hookpoint", "k", "expansion_factor", "variant", "seed", "val/fvu", CE_RECOVERED, "dead_pct"} <= set(page)
    assert {"Dataset", "Models", "User", "Source", "Version"} <= set(page)
    for value in (*(f"{dataset.name} ({dataset.digest})" for dataset in TEXT), "ada", "grid.py", "c0ffee"):
        assert page.count(value) == len(TRIALS), value
    for trial in TRIALS:
        assert page.count(name_of(*trial).replace(".", "_")) == 1


def test_servers_say_how_old_they_are(served: tuple[Server, str]) -> None:
    assert server_version(served[0].uri) == server_version("sqlite:///x") >= (3, 15)
    assert server_version("http://127.0.0.1:9") == (0, 0)
