"""The synthetic tree obeys its formulas, recovery means what it says, and its sweep runs, resumes and refuses."""

import json
import logging
from pathlib import Path

import pytest

from models import SparseCoder
from orchestrator.toy.config import ToyConfig
from orchestrator.toy.run import main
from orchestrator.toy.tree import TreeConfig
from sweeps.toy_hierarchy import PRESETS

SIZES = ["--train-tokens", "2000", "--val-tokens", "400", "--batch-tokens", "100", "--warmup-steps", "5",
         "--correlation", "0.1"]  # fmt: skip
SMALL = [*SIZES, "--seed", "0", "1", "--variant", "topk", "mp"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("storage")
    assert main("", "toy_hierarchy", PRESETS, [*SMALL, "--storage", str(storage), "--name", "tiny"]) == 0
    return storage


def test_a_tiny_sweep_leaves_results_table_and_runs(finished: Path) -> None:
    from mlflow.tracking import MlflowClient

    results = json.loads((finished / "tiny" / "results.json").read_text(encoding="utf-8"))["results"]
    assert set(results) == {f"toy-tree-c0.1-{v}-k2-ef1-s{s}" for v in ("topk", "mp") for s in (0, 1)}
    for name, result in results.items():
        assert result["step"] == 20
        assert 0 < result["val/fvu"] < 1
        assert result["val/tokens"] == 400
        assert 0 < result["recovery/parents"] <= 1
        coder = SparseCoder.load_from_disk(finished / "tiny" / "trials" / name / "coder")
        assert coder.num_latents == 20
    table = (finished / "tiny" / "comparison.md").read_text(encoding="utf-8")
    assert "| tree-c0.1 | 1 | 2 | topk | 0." in table
    assert "±" in table
    assert "random rows" in table
    client = MlflowClient(f"sqlite:///{finished}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("toy_hierarchy").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert set(children) == set(results)
    for name, run in children.items():
        assert run.data.params.keys() >= {"model", "hookpoint", "k", "expansion_factor", "variant", "seed"}
        for metric in ("val/fvu", "recovery/parents", "recovery/children"):
            assert run.data.metrics[metric] == pytest.approx(results[name][metric])
        assert len(run.outputs.model_outputs) == 1
        assert {each.dataset.name for each in run.inputs.dataset_inputs} == {"tree-c0.1"}
    assert len(parent.inputs.dataset_inputs) == 2 * 2  # of two seeds, to train and to measure on


def test_quiet_leaves_the_outcome(
    finished: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    said = {}
    for more in ((), ("--quiet",)):
        caplog.clear()
        caplog.set_level(logging.INFO)
        assert main("", "toy_hierarchy", PRESETS, ["--storage", str(finished), "--resume", "tiny", *more]) == 0
        said[more] = capsys.readouterr().out, [record.getMessage() for record in caplog.records]
    (output, log), (quiet_output, quiet_log) = said[()], said["--quiet",]
    assert "trials, 1 at a time" in output and any(message.startswith("4/4 ") for message in log)
    assert "trials, 1 at a time" not in quiet_output and quiet_log == []
    assert output.endswith(quiet_output) and "| tree-c0.1 | 1 | 2 | topk |" in quiet_output


def test_resume_trains_what_has_no_result_and_nothing_else(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((finished / "tiny" / "results.json").read_text(encoding="utf-8"))["results"]
    kept, lost = (finished / "tiny" / "trials" / f"toy-tree-c0.1-topk-k2-ef1-s{seed}" for seed in (0, 1))
    marked = {**json.loads((kept / "result.json").read_text(encoding="utf-8")), "recovery/leaves": 0.125}
    (kept / "result.json").write_text(json.dumps(marked), encoding="utf-8")
    (lost / "result.json").unlink()
    assert main("", "toy_hierarchy", PRESETS, ["--storage", str(finished), "--resume", "tiny"]) == 0
    after = json.loads((finished / "tiny" / "results.json").read_text(encoding="utf-8"))["results"]
    assert after[kept.name] == marked
    assert after[lost.name] == before[lost.name]  # from the start again, and the same
    assert "error" not in capsys.readouterr().err


def test_a_trial_that_diverges_is_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*SIZES, "--storage", str(tmp_path), "--name", "wild", "--lr", "1e30", "--variant", "topk", "--seed", "0"]
    assert main("", "toy_hierarchy", PRESETS, flags) == 1
    assert "failed: toy-tree-c0.1-topk-k2-ef1-s0: loss became" in capsys.readouterr().out


def test_plan_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("", "toy_hierarchy", PRESETS, ["--plan", "--preset", "paper", "--storage", str(tmp_path / "s")]) == 0
    assert "135 trials" in capsys.readouterr().out
    assert not (tmp_path / "s").exists()


BAD = {
    "--correlation 1": "correlation 1.0: must be from 0 to below 1",
    "--overlap -0.5": "overlap -0.5: must be from 0 to below 1",
    "--correlation 0.1 0.1": "correlation (0.1, 0.1): needs values, each given once",
    "--variant sst": "variant 'sst': samples of a tree have no target",
    "--variant gated": "variant 'gated': allowed are topk, mp",
    "--variant MP": "variant 'MP': did you mean mp? allowed are topk, mp, mp-tied, mp-sliced, mp-big-decoder, ito, omp",
    "--no-such-flag": "--no-such-flag: no such flag; --help lists all",
    "--correlation 0,0.5": "correlation '0,0.5': numbers are separated by spaces: --correlation 0 0.5",
    "--correlation half": "correlation 'half': must be numbers, separated by spaces",
    "--centre no": "centre 'no': takes no value; give --centre, or --no-centre",
    "--seed 0 --seed 1": "seed: given twice",
    "--model packaged": "--model: no such flag",
    "--preset Paper": "preset 'Paper': did you mean paper?",
    "--k 0": "k 0: must be 1 or more",
    "--k 21": "k 21: must be at most the number of latents, 20",
    "--lr 0": "lr 0.0: must be a positive number",
    "--train-tokens 100": "train_tokens 100: too few for one batch",
    "--resume nothing": "resume 'nothing': not in",
    "--resume tiny --k 3": "k (3,): cannot change on --resume",
    "--name tiny": "name 'tiny': exists in",
    "--name a/b": "name 'a/b': must be a plain directory name",
}


@pytest.mark.parametrize("flags", BAD)
def test_a_wrong_flag_is_one_line_and_status_2(flags: str, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("", "toy_hierarchy", PRESETS, ["--storage", str(finished), *flags.split()]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {BAD[flags]}")


def test_the_presets_differ_from_the_paper_in_length_and_correlations_only() -> None:
    for preset in PRESETS.values():
        assert ToyConfig.from_json(json.dumps(preset.to_json())) == preset
        assert preset.cells()[0].coder.latents(20) == TreeConfig().atoms
    assert PRESETS["paper"].steps == 15_000
