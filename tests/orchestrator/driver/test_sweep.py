"""Whole sweeps on real Ray and MLflow with a tiny model: finishing, dying, continuing, failing."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas
import pytest
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from models import SparseCoder
from orchestrator.driver.claims import locked
from orchestrator.driver.cli import main
from orchestrator.figures.command import main as draw_figures
from orchestrator.grid.config import AXES
from sweeps.smollm_grid import PRESETS
from tests.support.browser import needs_browser, texts, watched
from tests.support.mlflow_server import Server
from tests.support.sweeps import (
    SHARDS,
    command,
    finish,
    results,
    runs_of,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.sweep


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path, storage: Path) -> str:
    """Output of a sweep that nothing happens to, in a directory whose modules have the names of ours."""
    here = storage / "project"
    (here / "kernels").mkdir(parents=True)
    for file in ("models.py", "kernels/__init__.py"):
        (here / file).write_text("raise ImportError('not this one')", encoding="utf-8")
    return finish(*command(tiny_model, storage, "undisturbed", "--cache-dir", str(storage / "cache")), cwd=here)


def test_every_trial_is_scored_from_one_forward_per_shard(undisturbed: str, storage: Path) -> None:
    found = results(storage, "undisturbed")
    assert len(found) == 4
    for result in found.values():
        assert 0 < result["val/fvu"] < 0.9
        assert result["l0"] <= 4
        assert result["val/tokens"] == 8192 * 31 // 32 - result["val/massive_tokens"]
    counters = json.loads((storage / "undisturbed" / "results.json").read_text(encoding="utf-8"))["counters"]
    assert counters["shards_computed"] == SHARDS
    assert counters["shards_evictions"] == 0
    assert "| layers.2.mlp | 8 | 4 |" in undisturbed
    assert "viewStateShareKey" in undisturbed


def test_every_line_of_the_log_is_ours(undisturbed: str) -> None:
    """Other libraries warn of what nobody can do anything about. No line has a colour, since this is no terminal."""
    clock = re.compile(r"^\d\d:\d\d:\d\d ", re.MULTILINE)
    log = undisturbed[clock.search(undisturbed).start() :].splitlines()
    assert [line for line in log if not clock.match(line)] == []
    assert sum(": held-out FVU " in line for line in log) == 4
    assert "\x1b" not in undisturbed


def test_mlflow_has_a_parent_and_a_nested_run_per_trial(undisturbed: str, storage: Path) -> None:
    parent, children = parent_and_trials(storage)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    found = results(storage, "undisturbed")
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    for run in children:
        assert {*AXES, "lr", "batch_tokens", "train_tokens", "dataset", "context_length"} <= set(run.data.params)
        assert {"model.fingerprint", "tokens.fingerprint"} <= set(run.data.params)
        assert not {"name", "storage", "cache_dir", "max_failures"} & set(run.data.params)
        assert run.data.metrics["val/fvu"] == found[run.info.run_name]["val/fvu"]
        assert {"train/fvu", "dead_pct", "l0", "tokens_per_second", "train_seconds"} <= set(run.data.metrics)
        assert "train_seconds" not in found[run.info.run_name]  # it differs where all else is the same
        assert {file.path for file in client.list_artifacts(run.info.run_id, "checkpoint")} == {
            "checkpoint/README.md", "checkpoint/cfg.json", "checkpoint/sae.safetensors"}  # fmt: skip
        (output,) = run.outputs.model_outputs
        coder = client.get_logged_model(output.model_id)
        assert coder.params == run.data.params
        assert {metric.key: metric.value for metric in coder.metrics}["val/fvu"] == run.data.metrics["val/fvu"]
        assert datasets_of(run) == datasets_of(parent) == {
            "training": ("python-docs", run.data.params["tokens.fingerprint"]),
            "evaluation": ("python-docs", f"{run.data.params['tokens.fingerprint']}-val")}  # fmt: skip
        assert f"Variant {run.data.params['variant']} with k = 4 of 256 latents" in run.data.tags["mlflow.note.content"]
    assert parent.data.metrics["shards_computed"] == SHARDS
    assert 0 <= parent.data.metrics["system/cpu_utilization_percentage"] <= 100
    assert parent.data.metrics["system/system_memory_usage_megabytes"] > 0
    assert parent.data.metrics["system/object_store_used_megabytes"] >= 0
    assert any(name.startswith("system/gpu_") for name in parent.data.metrics) == torch.cuda.is_available()
    note = parent.data.tags["mlflow.note.content"]
    link = f"#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}/artifacts/figures/figures.html"
    assert f"[figures/figures.html]({link})" in note
    assert "| layers.2.mlp | 8 | 4 |" in note and " --name undisturbed " in note and "cores of" in note
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.git.commit"} <= set(parent.data.tags)
    assert {"config.json", "figures", "comparison.md"} <= {f.path for f in client.list_artifacts(parent.info.run_id)}


def parent_and_trials(storage: Path) -> tuple[Run, list[Run]]:
    """The runs of the undisturbed sweep: its own, and those of its trials."""
    runs = runs_of(storage, "undisturbed")
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return parent, [run for run in runs if run is not parent]


def datasets_of(run: Run) -> dict[str, tuple[str, str]]:
    """Names and digests by context."""
    return {each.tags[0].value: (each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs}


@pytest.fixture(scope="module")
def shown(undisturbed: str, storage: Path) -> Iterator[str]:
    """What the sweep says to open, at the port of a server that runs."""
    (link,) = re.findall(r"compare in MLflow \(start it with .*\): http://127.0.0.1:5000(/\S+)", undisturbed)
    server = Server(storage)
    server.start()
    wait_until(server.answers, "MLflow's server")
    yield server.uri + link
    server.kill()


@needs_browser
def test_the_printed_link_shows_the_trials(shown: str, storage: Path, tmp_path: Path) -> None:
    page = texts(shown, tmp_path)
    assert set(results(storage, "undisturbed")) <= set(page)
    assert page[page.index("matching runs") - 1] == "4"
    for section in ("Who wins", "Training", "Cost"):
        assert section in page


@needs_browser
def test_the_table_behind_the_link_has_the_results(shown: str, storage: Path, tmp_path: Path) -> None:
    page = texts(shown.replace("compareRunsMode=CHART", "compareRunsMode=TABLE"), tmp_path)
    _, trials = parent_and_trials(storage)
    for run in trials:
        columns = [run.data.tags["mlflow.user"], run.data.tags["mlflow.source.git.commit"][:6], "smollm_grid.py"]
        columns.append(f"python-docs ({run.data.params['tokens.fingerprint']})")
        for value in columns:
            assert page.count(value) == len(trials), value
        assert any(_is(text, run.data.metrics["val/fvu"]) for text in page)


def _is(text: str, number: float) -> bool:
    """Whether it says the number, rounded as the page likes."""
    digits = len(text.partition(".")[2])
    return digits >= 3 and text == f"{number:.{digits}f}"


@needs_browser
def test_the_description_leads_to_the_figures(shown: str, storage: Path, tmp_path: Path) -> None:
    """Its link opens the page among the sweep's artifacts, whole."""
    parent, _ = parent_and_trials(storage)
    url = f"{shown.partition('#')[0]}#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}"
    script = """(() => {
        const link = document.querySelector('a[href*="figures.html"]');  // which opens a tab of its own
        if (link && !location.hash.includes('/artifacts/')) location.assign(link.href);
        const frame = document.querySelector('iframe');
        if (frame && !window.asked) {
            window.asked = true;
            fetch(frame.src).then(page => page.text()).then(text => { window.told = text; });
        }
        return window.told;
    })()"""
    page = (storage / "undisturbed" / "figures" / "figures.html").read_text(encoding="utf-8")
    assert watched(url, tmp_path, script, "mlflow-figures.png") == page


def test_figures_are_logged_and_can_be_drawn_from_mlflow_alone(undisturbed: str, storage: Path, tmp_path: Path) -> None:
    names = {"figures.html", "fvu_by_variant.png", "dead_and_fvu.png", "fvu_against_time.png"}  # one k: no curve of it
    parent, _ = parent_and_trials(storage)
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    logged = client.list_artifacts(parent.info.run_id, "figures")
    assert {Path(file.path).name for file in logged} == names
    assert str(storage / "undisturbed" / "figures" / "figures.html") in undisturbed

    uri = f"sqlite:///{shutil.copy(storage / 'mlflow.db', tmp_path)}"
    assert draw_figures(["undisturbed", "--tracking-uri", uri, "--out", str(tmp_path / "again")]) == 0
    assert {file.name for file in (tmp_path / "again").iterdir()} == names
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (storage / "undisturbed" / "figures" / name).read_bytes()


def test_results_are_a_table_of_their_own(undisturbed: str, storage: Path) -> None:
    """Among the artifacts too, for whoever has no MLflow at hand."""
    table = pandas.read_parquet(storage / "undisturbed" / "results.parquet")
    parent, trials = parent_and_trials(storage)
    listed = MlflowClient(f"sqlite:///{storage}/mlflow.db").list_artifacts(parent.info.run_id)
    assert "results.parquet" in {file.path for file in listed}
    children = {run.info.run_name: run for run in trials}
    assert len(table) == 4 and table["k"].dtype == table["seed"].dtype == "int64"
    for row in table.to_dict("records"):
        name = f"model-{row['hookpoint']}-{row['variant']}-k{row['k']}-ef{row['expansion_factor']}-s{row['seed']}"
        for metric, value in children[name].data.metrics.items():
            assert row[metric] == value, metric
        params = children[name].data.params
        columns = {param: f"settings/{param}" if param == "lr" else param for param in params}
        assert {*columns.values()} <= {*table.columns}
        assert (row["settings/lr"], row["batch_tokens"], row["exclude_first"]) == (0.001, 128, True)


def test_the_checkpoint_of_a_trial_loads(undisturbed: str, storage: Path) -> None:
    for trial in (storage / "undisturbed" / "trials").iterdir():
        coder = SparseCoder.load_from_disk(trial / "coder")
        assert (coder.d_in, coder.num_latents, coder.cfg.k) == (32, 256, 4)


def test_activations_on_disk_spare_the_model(undisturbed: str, tiny_model: Path, storage: Path) -> None:
    finish(*command(tiny_model, storage, "warm", "--cache-dir", str(storage / "cache"), "--variant", "topk"))
    content = json.loads((storage / "warm" / "results.json").read_text(encoding="utf-8"))
    assert content["counters"]["shards_computed"] == 0
    assert content["results"] == {key: value for key, value in results(storage, "undisturbed").items() if "topk" in key}


BAD = {
    "hookpoint": "--hookpoint layers.99",
    "k 999": "--k 999",
    "k 0": "--k 0",
    "k: --k needs": "--k",
    "seed 1": "--seed 1 1",
    "text_column": "--dataset {file} --text-column body",
    "train_tokens": "--train-tokens 100",
    "storage": "--storage {file}/below",
    "name": "--name undisturbed",
    "resume": "--resume nothing",
    "variant": "--variant gated",
    "variant 'sst': predicts a module's output": "--variant sst --hookpoint layers.2.mlp:in",
    "variant 'sst': needs as many inputs as outputs": "--variant sst --hookpoint layers.2.mlp.up_proj",
    "model": "--model /nowhere",
    "warmup_steps": "--warmup-steps 9999",
    "train_tokens 49152: dataset": "--dataset {file}",
    "cache_dir": "--cache-dir {file}",
    "store_gb": "--store-gb 0.0001",
}


@pytest.mark.parametrize("field", BAD)
def test_bad_input_is_one_line(
    field: str, undisturbed: str, tiny_model: Path, storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "text.jsonl"
    file.write_text(json.dumps({"text": "words"}) + "\n", encoding="utf-8")
    given = BAD[field].format(file=file).split()
    assert main("", "smollm_grid", PRESETS, command(tiny_model, storage, "bad", *given)[2:]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {field}")
    assert not (storage / "bad").exists()


def test_resume_refuses_another_grid(undisturbed: str, storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("", "smollm_grid", PRESETS, ["--storage", str(storage), "--resume", "undisturbed", "--k", "8"]) == 2
    assert "error: k (8,): cannot change on --resume" in capsys.readouterr().err


def test_a_mistake_on_resume_removes_nothing(
    undisturbed: str, storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    young = tmp_path / "young"  # claimed by another process that has not come to its trials yet
    young.mkdir()
    shutil.copy(storage / "undisturbed" / "sweep.json", young)
    with locked(young):
        assert main("", "smollm_grid", PRESETS, ["--storage", str(tmp_path), "--resume", "young"]) == 2
    assert "is running already" in capsys.readouterr().err
    assert (young / "sweep.json").is_file()


def test_plan_runs_nothing(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*command(tiny_model, tmp_path / "none", "planned", "--plan")[2:]]
    assert main("", "smollm_grid", PRESETS, flags) == 0
    assert not (tmp_path / "none").exists()
