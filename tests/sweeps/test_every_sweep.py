"""Every sweep script: sound presets, a plan that is printed, and transcoders trained on pairs and scored right."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

from models import VARIANTS, SparseCoder
from orchestrator.activations.tables import open_shard, to_table
from orchestrator.driver.cli import main
from orchestrator.errors import UserError
from orchestrator.grid.config import SweepConfig
from orchestrator.language_models.loading import LanguageModel
from orchestrator.scores.reading import best_trial, differences, trials, write_comparison
from tests.support.terminal import Screen, on_a_terminal
from tests.support.waiting import LIMIT_SECONDS

SCRIPTS = Path(__file__).parents[2] / "sweeps"
GRIDS = ("smollm_grid", "smollm_ablation", "llama_grid", "transcoders", "study_bias")


def presets(script: str) -> dict[str, SweepConfig]:
    found: dict[str, SweepConfig] = importlib.import_module(f"sweeps.{script}").PRESETS
    return found


@pytest.mark.parametrize("script", GRIDS)
def test_both_presets_ask_the_same_question(script: str) -> None:
    laptop, paper = presets(script)["laptop"], presets(script)["paper"]
    assert set(laptop.variant) <= set(paper.variant) <= set(VARIANTS)
    assert (paper.lr, paper.warmup_steps, paper.batch_tokens, paper.context_length) == ((1e-3,), 100, 1 << 16, 2048)
    assert laptop.lr == paper.lr
    assert paper.dataset == "EleutherAI/fineweb-edu-dedup-10b"


@pytest.mark.parametrize("script", GRIDS)
def test_the_laptop_plan_is_printed(script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--preset", "laptop", "--plan", "--storage", str(tmp_path / "none")]
    assert main("", script, presets(script), flags) == 0
    printed, laptop = capsys.readouterr().out, presets(script)["laptop"]
    trials = len(laptop.hookpoint) * len(laptop.k) * len(laptop.variant) * len(laptop.seed)
    assert f"{trials} trials" in printed
    assert all(f"-{variant}-k" in printed for variant in laptop.variant)
    assert not (tmp_path / "none").exists()


WIDTH = 300
"""Of the terminal; no line of a log is longer."""


class Transcoded(NamedTuple):
    """A sweep that has ended."""

    directory: Path
    output: str
    errors: str
    """What was written to standard error, which was a terminal."""


@pytest.fixture(scope="module")
def transcoded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Transcoded:
    """A sweep over transcoders and an autoencoder of the same module, scored."""
    storage = tmp_path_factory.mktemp("storage")
    flags = (
        f"--model {tiny_model} --storage {storage} --name pairs --hookpoint layers.2.mlp --k 4 --expansion-factor 1 "
        "--variant sst mp-transcoder topk --seed 0 --context-length 32 --train-tokens 49152 --val-tokens 8192 "
        "--batch-tokens 128 --shard-tokens 8192 --warmup-steps 10"
    )
    command = [sys.executable, str(SCRIPTS / "transcoders.py"), "--preset", "laptop", *flags.split()]
    status, output, errors = on_a_terminal(command, WIDTH)
    assert status == 0, output[-2000:] + errors[-4000:]
    return Transcoded(storage / "pairs", output, errors)


@pytest.mark.sweep
@pytest.mark.parametrize("variant", ["sst", "mp-transcoder", "topk"])
def test_held_out_fvu_is_that_of_the_saved_coder_on_the_model(
    variant: str, transcoded: Transcoded, tiny_model: Path
) -> None:
    (trial,) = (transcoded.directory / "trials").glob(f"*-{variant}-k4-*")
    coder, result = (
        SparseCoder.load_from_disk(trial / "coder"),
        json.loads((trial / "result.json").read_text(encoding="utf-8")),
    )
    (tokens,) = (transcoded.directory.parent / "tokens").glob("**/val.npy")
    tokens_NL = np.load(tokens)
    names = ["layers.2.mlp:in" if VARIANTS[variant].transcode else "layers.2.mlp", "layers.2.mlp"]
    captured = LanguageModel.load(str(tiny_model)).capture(torch.from_numpy(tokens_NL.astype(np.int64)), names)
    tables = [to_table(captured[name], tokens_NL, name, "float16", 0) for name in names]
    shard = open_shard(*tables, exclude_first=True, massive_multiple=10.0)
    x, y = shard.rows(shard.ordinary)
    with torch.no_grad():
        out = coder(x).sae_out
    fvu = float((y - out).double().pow(2).sum() / (y - y.mean(dim=0)).double().pow(2).sum())
    assert result["val/fvu"] == pytest.approx(fvu, rel=1e-3)
    assert fvu < 0.9


@pytest.mark.sweep
def test_every_trial_is_scored_in_mlflow_and_in_the_table(transcoded: Transcoded) -> None:
    content = json.loads((transcoded.directory / "results.json").read_text(encoding="utf-8"))
    assert content["scores"].keys() == content["results"].keys()
    client = MlflowClient(f"sqlite:///{transcoded.directory.parent}/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name == "transcoders"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    for name, scores in content["scores"].items():
        logged = runs[name].data.metrics
        assert {key: logged[key] for key in scores} == pytest.approx(scores)
        assert logged["model_performance_preservation/ce_loss_with_ablation"] > 0
        files = {Path(file.path).name for file in client.list_artifacts(runs[name].info.run_id, "scores")}
        assert {"scores.json", "latents.parquet"} <= files
        shown = f"{scores['autointerp/example_embedding/mean']:.3f}"
        variant = runs[name].data.params["variant"]
        assert any(f"| {variant} | 0 |" in line and shown in line for line in transcoded.output.splitlines())
    assert " - topk | example_embedding |" not in transcoded.output  # a transcoder reads another input


@pytest.mark.sweep
def test_the_readme_looks_at_a_latent(transcoded: Transcoded, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (SCRIPTS.parent / "README.md").read_text(encoding="utf-8").partition("## Look at a latent")[2]
    lines = [line[4:] for line in readme.partition("from orchestrator")[2].partition("\nA sweep")[0].splitlines()[1:]]
    code = "\n".join(["from orchestrator.scores.reading import best_trial", *lines])
    assert len(code.strip().splitlines()) <= 15
    code = code.replace("runs/NAME", str(transcoded.directory)).replace("layers.10", "layers.2.mlp")
    exec(code, {})
    printed = capsys.readouterr().out.splitlines()
    strengths = [float(line.split()[0]) for line in printed]
    assert len(strengths) == 8
    assert strengths == sorted(strengths, reverse=True) and strengths[0] > 0


@pytest.mark.sweep
def test_a_trial_reads_back_as_it_was_scored(transcoded: Transcoded, tmp_path: Path) -> None:
    best, *others = trials(transcoded.directory)
    assert all(best.result["val/fvu"] <= other.result["val/fvu"] for other in others)
    assert best_trial(transcoded.directory, variant="topk").cell.variant == "topk"
    tokens = best.held_out_tokens()
    active = best.activations(tokens)
    assert not active.values[:, 0].any()
    for latent in best.latents()[:5]:
        rate = float(((active.latents == latent.latent) & (active.values != 0)).any(dim=-1)[:, 1:].double().mean())
        assert rate == pytest.approx(latent.firing_rate, rel=0.05, abs=1e-3)
    found = differences(best, others[0])["example_embedding"]
    opposite = differences(others[0], best)["example_embedding"]
    assert found.everything.value == pytest.approx(-opposite.everything.value)
    assert found.everything.low <= found.everything.value <= found.everything.high
    write_comparison(best, others[0], tmp_path / "two.html")
    page = (tmp_path / "two.html").read_text(encoding="utf-8")
    assert best.cell.name in page and others[0].cell.name in page
    with pytest.raises(UserError, match="exists; give another name"):
        write_comparison(best, others[0], tmp_path / "two.html")
    with pytest.raises(UserError, match="no trained trial with"):
        best_trial(transcoded.directory, k=5)
    with pytest.raises(UserError, match="colour: is no axis"):
        best_trial(transcoded.directory, colour=5)
    with pytest.raises(UserError, match="no sweep there"):
        best_trial(transcoded.directory.parent)


@pytest.mark.sweep
def test_an_ended_sweep_is_scored_again(transcoded: Transcoded) -> None:
    """One trial, by its run in MLflow; what is scored already is there at once."""
    client = MlflowClient(f"sqlite:///{transcoded.directory.parent}/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name == "transcoders"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    (name,) = (name for name in runs if "-topk-" in name)
    words = ["--storage", str(transcoded.directory.parent), "--run", runs[name].info.run_id]
    command = [sys.executable, str(SCRIPTS / "autointerp.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    scores = json.loads((transcoded.directory / "trials" / name / "scores" / "scores.json").read_text(encoding="utf-8"))
    before = json.loads((transcoded.directory / "results.json").read_text(encoding="utf-8"))["scores"][name]
    assert scores["times"] == 2
    assert scores["metrics"] == pytest.approx(before)
    again = client.get_run(runs[name].info.run_id)
    assert again.info.status == "FINISHED"
    history = client.get_metric_history(again.info.run_id, "autointerp/example_embedding/mean")
    assert [point.step for point in history] == [history[0].step, history[0].step + 1]


@pytest.mark.sweep
def test_a_terminal_shows_a_table_and_keeps_our_lines_alone(transcoded: Transcoded) -> None:
    """Other libraries warn of what nobody can do anything about: none of it is among the lines."""
    header = r"trial +step +FVU +tokens/s +waiting +left"
    assert re.search(header, Screen.plain(transcoded.errors))
    assert re.search(r"shards \d+/7 \| store 0\.\d\d GB", transcoded.errors)
    assert re.search(r"scored \d/3 trials, \d+ at a time \| \d+:\d\d so far \| \d+:\d\d left", transcoded.errors)
    screen = Screen(WIDTH).feed(transcoded.errors)
    lines = [line for line in screen.lines if line]
    assert [line for line in lines if not re.match(r"\d\d:\d\d:\d\d ", line)] == []
    assert sum("held-out FVU" in line for line in lines) == 3
    assert screen.cursor_shown
    assert "\x1b" not in transcoded.output
