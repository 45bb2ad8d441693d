"""The benchmark's own promises: every contestant computes what it is timed for, and a wrong one gets no time."""

import importlib.util
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import run
from benchmarks.activations import load_activations
from benchmarks.contestants import Contestant, Output, Step
from benchmarks.measure import Measurement, agreement, measure, reference
from benchmarks.memory import PeakMemory
from benchmarks.plot import draw, longest_line
from benchmarks.presets import PRESETS, Axis, Preset
from benchmarks.problem import Case, Problem, distinct_tokens, make_problem
from benchmarks.report import fit_line, render
from benchmarks.schedule import merged
from benchmarks.worker import CONTESTANTS
from orchestrator.errors import UserError

CPU = torch.device("cpu")
CASE = Case(tokens=37, latents=61, k=5)
WORDS = {"ok": "ok", "wrong": "failed its check", "ill": "could not run", "absent": "not installed"}


@pytest.fixture
def activations_ND() -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    return torch.randn(120, 19, generator=random) + torch.linspace(-1, 1, 19)


@pytest.fixture
def problem(activations_ND: torch.Tensor) -> Problem:
    return make_problem(activations_ND, CASE, CPU)


def made_up_row(name: str, case: Case, status: str = "ok", seconds: float = 1.0, **facts: float) -> dict:
    row = {"contestant": name, "case": vars(case), "status": WORDS[status]}
    if status != "ok":
        return row | {"reason": f"{name} is {status}"}
    found = Measurement(
        fvu=0.2, reference_fvu=0.2, tolerance=1e-4, agreement=None, forward_s=[seconds / 2] * 3,
        step_s=[seconds] * 3, extra_bytes=round(seconds * 2**20), facts=facts,
    )  # fmt: skip
    return row | found.as_json()


def made_up_results(rows: list[dict]) -> dict:
    rates = {"float32": 1e12, "bfloat16": 2e12, "read": 1e10, "copy": 2e10}
    about = {"machine": "abacus", "device": "CPU, 1 threads"}
    data = {"source": "made up", "rows": 5000, "width": 8}
    return {"name": "made-up", "about": about, "data": data, "rates": rates, "rows": rows}


@pytest.mark.parametrize("name", CONTESTANTS)
def test_every_contestant_equals_the_reference(name: str, problem: Problem) -> None:
    contestant = CONTESTANTS[name]
    if contestant.module and importlib.util.find_spec(contestant.module) is None:
        pytest.skip(f"{contestant.module} is not installed")
    found = measure(contestant, problem, reference(contestant.operation, problem), seconds=0.0)
    assert found.correct, f"FVU {found.fvu}, reference {found.reference_fvu}"
    assert 0 < found.fvu < 1
    assert found.agreement is None or found.agreement > 0.999
    assert len(found.step_s) == len(found.forward_s) == 1
    assert 0 < found.forward_s[0] < found.step_s[0]


@pytest.mark.parametrize("name", ["ours", "the study's method"])
def test_contestants_of_one_operation_have_the_same_gradients(name: str, problem: Problem) -> None:
    gradients = []
    for step in (CONTESTANTS[name].build(problem), CONTESTANTS["autograd with gather"].build(problem)):
        step.forward().loss.backward()
        gradients.append([weight.grad for weight in step.parameters])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_wrong_contestant_fails_its_check_and_gets_no_time(problem: Problem) -> None:
    right = CONTESTANTS["autograd with gather"]

    def build(problem: Problem) -> Step:
        step = right.build(problem)

        def forward() -> Output:
            output = step.forward()
            return output._replace(error_BD=output.error_BD * 1.01)

        return replace(step, forward=forward)

    wrong = Contestant(name="wrong", operation=right.operation, build=build)
    found = measure(wrong, problem, reference("mp", problem), seconds=0.0)
    assert not found.correct
    assert found.step_s == found.forward_s == []
    assert not replace(found, fvu=float("nan")).correct


@pytest.mark.parametrize("operation", ["mp", "topk"])
def test_agreement_is_the_share_of_selections_made(operation: str, problem: Problem) -> None:
    expected = reference(operation, problem)
    assert agreement(operation, expected.indices_BK, expected) == 1.0
    turned = expected.indices_BK.flip(1)
    assert (agreement(operation, turned, expected) == 1.0) == (operation == "topk")
    half = expected.indices_BK.clone()
    half[: len(half) // 2] = CASE.latents
    share = float(expected.active_BK[len(half) // 2 :].sum() / expected.active_BK.sum())
    assert agreement(operation, half, expected) == pytest.approx(share, abs=0.02)


def test_weights_change_before_every_step(problem: Problem) -> None:
    versions = []

    def build(problem: Problem) -> Step:
        step = CONTESTANTS["autograd with gather"].build(problem)

        def forward() -> Output:
            versions.append(step.parameters[0]._version)
            return step.forward()

        return replace(step, forward=forward)

    measure(Contestant(name="spy", operation="mp", build=build), problem, reference("mp", problem), seconds=0.0)
    _, first, second = versions
    assert second > first


def test_peak_memory_counts_what_was_freed_again() -> None:
    memory = PeakMemory(CPU)
    torch.ones(16 << 20).sum()
    extra = memory.extra_bytes()
    assert extra is None or 60 << 20 < extra < 100 << 20


def test_the_problem_is_a_function_of_activations_and_case(activations_ND: torch.Tensor, problem: Problem) -> None:
    again = make_problem(activations_ND, CASE, CPU)
    assert torch.equal(problem.x_BD, again.x_BD)
    assert torch.equal(problem.W_MD, again.W_MD)
    torch.testing.assert_close(problem.W_MD.norm(dim=1), torch.ones(CASE.latents))
    assert len(problem.W_MD.unique(dim=0)) == CASE.latents
    repeated = make_problem(activations_ND, Case(tokens=200, latents=61, k=5), CPU)
    assert len(repeated.x_BD.unique(dim=0)) == distinct_tokens(120, 200) == 120


def test_activations_are_scaled_to_unit_variance(tmp_path, activations_ND: torch.Tensor) -> None:
    path = tmp_path / "activations.safetensors"
    save_file({"activations": 30 * activations_ND}, path)
    assert float(load_activations(path).var(dim=0, correction=0).mean()) == pytest.approx(1.0)
    save_file({"something else": activations_ND}, path)
    with pytest.raises(UserError, match="activations"):
        load_activations(path)


def test_the_report_gives_ratios_to_ours_only_for_rows_that_passed() -> None:
    case = Case(tokens=64, latents=256, k=4)
    rows = [
        made_up_row("ours", case, seconds=0.5),
        made_up_row("ours, tied", case, "ill"),
        made_up_row("sae-lens", case, seconds=4.0),
        made_up_row("overcomplete", case, "absent"),
        made_up_row("the study's method", case, "wrong"),
        made_up_row("ours, recompute form", case, seconds=2 * 2 * 64 * 4 * 256 * 8 / 1e12),
    ]
    preset = Preset((case,), tuple(row["contestant"] for row in rows), rounds=1, seconds=1.0)
    text = render(made_up_results(rows), preset)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "time / ours | time / ours, tied" in lines["contestant"]
    assert "| 8.00 | – |" in lines["sae-lens"]
    for name in ("ours, tied", "overcomplete", "the study's method"):
        reason = next(row["reason"] for row in rows if row["contestant"] == name)
        assert reason in lines[name]
        assert not any(character.isdigit() for character in lines[name])
    assert "50 % of the bfloat16 rate" in text
    assert "## TopK" not in text


def test_growth_is_fitted_and_set_against_bandwidth() -> None:
    cases = tuple(Case(tokens=100, latents=latents, k=10) for latents in (100, 200, 400))
    name = "ours, update form, H given"
    rows = [made_up_row(name, case, seconds=0.1 + 8e-7 * case.latents, gram_itemsize=2) for case in cases]
    text = render(made_up_results(rows), Preset((), (), 1, 1.0, axes=(Axis("M", name, cases),)))
    assert "step ≈ 0.1000 s + M · 0.800 µs, R² = 1.0000" in text
    assert "2.00 times that" in text  # 0.4 µs of the forward against 100 · 10 · 2 bytes at 10 GB/s


def test_fit_line() -> None:
    fit = fit_line([1, 2, 3, 4], [3.0, 5.0, 7.0, 9.0])
    assert fit == pytest.approx((2.0, 1.0, 1.0))
    assert fit_line([1, 2, 3, 4], [1.0, -1.0, 1.0, -1.0]).r2 < 0.3


def test_rounds_are_merged_and_a_failed_one_fails_the_row() -> None:
    first, second = (made_up_row("ours", CASE, seconds=seconds) for seconds in (1.0, 2.0))
    both = merged(merged(None, first), second)
    assert both["step_s"] == [1.0] * 3 + [2.0] * 3
    assert both["extra_bytes"] == first["extra_bytes"]
    assert merged(first, made_up_row("ours", CASE, "wrong"))["status"] == "failed its check"


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_are_drawn_along_their_longest_lines(preset: Preset, tmp_path) -> None:
    work = preset.work()
    assert all(name in CONTESTANTS for name in work)
    rows = [made_up_row(name, case, seconds=case.k) for name, cases in work.items() for case in cases]
    drawn = draw(made_up_results(rows), preset, tmp_path / "plot.png")
    assert drawn == (preset in (PRESETS["default"], PRESETS["growth"]))
    if drawn:
        assert (tmp_path / "plot.png").stat().st_size > 20_000
    if preset is PRESETS["default"]:
        assert [case.k for case in longest_line(preset.cases, "k")] == [16, 32, 64]
        assert [case.latents for case in longest_line(preset.cases, "M")] == [4608, 9216, 18432]


def test_a_run_in_processes_writes_all_files_at_once(tmp_path, activations_ND: torch.Tensor, capsys) -> None:
    path = tmp_path / "activations.safetensors"
    save_file({"activations": activations_ND}, path)
    arguments = ["--preset", "quick", "--only", "ours, TopK", "dictionary_learning", "--activations", str(path)]
    shape = ["--tokens", "48", "--latents", "64", "--k", "4", "--threads", "1"]
    assert run.main([*arguments, *shape, "--results", str(tmp_path / "results"), "--name", "tiny"]) == 0
    assert sorted(file.name for file in (tmp_path / "results").iterdir()) == ["tiny.json", "tiny.md"]
    results = json.loads((tmp_path / "results" / "tiny.json").read_text(encoding="utf-8"))
    assert {row["status"] for row in results["rows"]} <= {"ok", "not installed"}
    assert "M = 64, k = 4, B = 48" in (tmp_path / "results" / "tiny.md").read_text(encoding="utf-8")
    assert "round 1: ours, TopK" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "nope"], "preset 'nope': allowed are quick, default, growth, h100"),
        (["--preset", "Quick"], "preset 'Quick': did you mean quick? allowed are "),
        (["--threads", "0"], "threads 0: must be 1 or more"),
        (["--threads", "all"], "threads 'all': must be a whole number"),
        (["--k", "16", "--k", "32"], "k: given twice, as --k 16 and as --k 32; give it once"),
        (["--k", "-1"], "k -1: must be 1 or more"),
        (["--only", "nobody"], "only 'nobody': the preset default has ours; "),
        (["--only", "Ours"], "only 'Ours': did you mean ours? the preset default has "),
        (
            ["--only", "ours,sae-lens"],
            "only 'ours,sae-lens': several values are separated by spaces: --only ours sae-lens",
        ),
        (["--only"], "only: --only needs values"),
        (["--K", "3"], "--K: no such flag; did you mean --k?"),
        (["--pre", "quick"], "--pre: no such flag; did you mean --preset?"),
        (["--device", "gpu"], "device 'gpu': allowed are cpu, cuda"),
        (["quick"], "'quick': a value needs a flag before it"),
        (["--name", ""], "name '': is empty"),
        (["--name", "../a"], "name '../a': must be the plain name of a file; "),
        (["--k", "9999", "--latents", "64"], "k 9999: is more than the 64 latents"),
        (["--preset", "growth", "--k", "3"], "k: the preset growth varies the shape itself"),
        (["--activations", "/nowhere"], "/nowhere"),
        pytest.param(
            ["--device", "cuda"], "no GPU", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
        ),
    ],
)
def test_a_wrong_option_gives_one_clear_line(arguments: list[str], message: str, capsys) -> None:
    status = run.main(arguments)
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert message in error
