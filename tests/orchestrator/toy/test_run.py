"""The synthetic tree obeys its formulas, recovery means what it says, and its sweep runs, resumes and refuses."""

import json
from pathlib import Path

import pytest
import torch

from models import SparseCoder, SparseCoderConfig
from orchestrator.toy.config import ToyConfig
from orchestrator.toy.run import main, stream
from orchestrator.toy.tree import Tree, TreeConfig, recovery
from sweeps.toy_hierarchy import PRESETS

SETTINGS = [(0.0, 0.0), (0.1, 0.0), (0.8, 0.0), (0.3, 0.4)]
SHAPES = [{}, {"d_in": 40, "parents": 2, "children": 5, "leaves": 3}]
SMALL = ["--train-tokens", "2000", "--val-tokens", "400", "--batch-tokens", "100", "--warmup-steps", "5",
         "--correlation", "0.1", "--seed", "0", "1", "--variant", "topk", "mp"]  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the dictionary ---


@pytest.mark.parametrize("shape", SHAPES, ids=["paper", "wide"])
@pytest.mark.parametrize(("correlation", "overlap"), SETTINGS)
def test_the_gram_matrix_of_the_atoms_is_the_stated_one(correlation: float, overlap: float, shape: dict) -> None:
    cfg = TreeConfig(correlation=correlation, overlap=overlap, **shape)
    parent_of = [None] * (cfg.parents + cfg.leaves) + [p for p in range(cfg.parents) for _ in range(cfg.children)]
    top = cfg.parents + cfg.leaves
    expected = torch.eye(cfg.atoms)
    for i in range(cfg.atoms):
        for j in range(cfg.atoms):
            if i == j:
                continue
            if i < top and j < top:
                expected[i, j] = correlation
            elif i >= top and j >= top:  # a child is √(1 − h²) v + h p, with v orthogonal to the top level
                siblings = parent_of[i] == parent_of[j]
                expected[i, j] = (1 - overlap**2) * (correlation if siblings else 0.0)
                expected[i, j] += overlap**2 * (1.0 if siblings else correlation)
            else:
                child, other = max(i, j), min(i, j)
                expected[i, j] = overlap * (1.0 if parent_of[child] == other else correlation)
    atoms = Tree(cfg, seed=3).atoms_ND
    torch.testing.assert_close(atoms @ atoms.T, expected, atol=1e-5, rtol=0)


def test_correlated_atoms_are_what_the_authors_mixing_makes() -> None:
    """Their coefficient 0.0895 mixes three siblings to a cosine of 0.1, and 0.3 does so for the 11 atoms above."""
    for epsilon, size in ((0.0895, 3), (0.3, 11)):
        mixed = torch.full((size, size), epsilon / (size - 1)).fill_diagonal_(1 - epsilon)
        mixed = torch.nn.functional.normalize(mixed, dim=1)
        shape = {"children": 3, "leaves": 8} if size == 3 else {}
        atoms = Tree(TreeConfig(correlation=0.1, **shape), 0).atoms_ND
        ours = atoms[11:14] if size == 3 else atoms[:11]
        torch.testing.assert_close(mixed @ mixed.T, ours @ ours.T, atol=2e-3, rtol=0)


# --- the samples ---


@pytest.fixture(scope="module")
def activations() -> torch.Tensor:
    return Tree(TreeConfig(), seed=0).activations(200_000, generator())


def test_one_top_atom_and_at_most_one_of_its_children_are_active(activations: torch.Tensor) -> None:
    active = activations != 0
    assert bool((active[:, :11].sum(dim=1) == 1).all())
    children = active[:, 11:].unflatten(1, (3, 3))
    assert int(children.sum(dim=(1, 2)).max()) == 1
    assert not bool((children.any(dim=2) & ~active[:, :3]).any())


def test_frequencies_and_magnitudes_are_the_stated_ones(activations: torch.Tensor) -> None:
    frequency = (activations != 0).double().mean(dim=0)
    expected = torch.tensor([0.2] * 3 + [0.05] * 8 + [0.04] * 9, dtype=torch.float64)
    torch.testing.assert_close(frequency, expected, atol=0.003, rtol=0)
    assert float((activations != 0).double().sum(dim=1).mean()) == pytest.approx(1.36, abs=0.005)
    assert TreeConfig().active_per_sample == pytest.approx(1.36)
    values = activations[activations != 0]
    assert float(values.mean()) == pytest.approx(1.5, abs=0.003)
    assert float(values.std()) == pytest.approx(0.25, abs=0.003)


def test_a_sample_is_the_sum_of_its_active_atoms() -> None:
    tree = Tree(TreeConfig(correlation=0.5), seed=1)
    z, x = tree.activations(64, generator(7)), tree.sample(64, generator(7))
    by_hand = torch.stack([sum(value * atom for value, atom in zip(row, tree.atoms_ND, strict=True)) for row in z])
    torch.testing.assert_close(x, by_hand)


def test_a_seed_determines_dictionary_and_samples() -> None:
    first, again, other = (Tree(TreeConfig(), seed) for seed in (5, 5, 6))
    assert torch.equal(first.atoms_ND, again.atoms_ND)
    assert not torch.allclose(first.atoms_ND, other.atoms_ND, atol=0.1)
    assert torch.equal(first.sample(50, generator(1)), again.sample(50, generator(1)))
    assert len({stream(seed, purpose) for seed in range(10) for purpose in range(3)}) == 30


@pytest.mark.parametrize("variant", ["mp-tied", "mp", "topk"])
def test_the_truth_reconstructs_every_sample(variant: str) -> None:
    """So a variant that does not recover the tree was not kept from it by what it can express."""
    tree = Tree(TreeConfig(correlation=0.5), seed=2)
    coder = SparseCoder(20, SparseCoderConfig(variant=variant, num_latents=20, k=2))
    coder.W_dec.data.copy_(tree.atoms_ND)
    if coder.encoder is not None:
        dual = torch.linalg.inv(tree.atoms_ND).T
        coder.encoder.weight.data.copy_(dual if variant == "topk" else tree.atoms_ND)
    with torch.no_grad():
        assert float(coder(tree.sample(2000, generator())).fvu) < 1e-9


# --- recovery ---


def test_recovery_is_one_for_the_truth_in_any_order_and_low_otherwise() -> None:
    cfg = TreeConfig(correlation=0.3)
    atoms = Tree(cfg, seed=0).atoms_ND
    shuffled = 2.5 * atoms[torch.randperm(20, generator=generator())]
    assert all(value == pytest.approx(1.0, abs=1e-5) for value in recovery(cfg, atoms, shuffled).values())
    assert all(value < 0.6 for value in recovery(cfg, atoms, torch.randn(20, 20, generator=generator())).values())
    assert recovery(cfg, atoms, -atoms)["recovery/all"] < 0.1  # signed: −atom is another direction


def test_recovery_is_by_kind_of_atom() -> None:
    cfg = TreeConfig(correlation=0.0)
    atoms = Tree(cfg, seed=0).atoms_ND
    assert recovery(cfg, atoms, atoms[:3]) == pytest.approx(
        {"recovery/parents": 1.0, "recovery/leaves": 0.0, "recovery/children": 0.0, "recovery/all": 0.15}, abs=1e-5
    )
    absorbed = atoms[11:] + atoms[:3].repeat_interleave(3, dim=0)  # every child's row holds its parent too
    found = recovery(cfg, atoms, absorbed)
    assert found["recovery/children"] == pytest.approx(0.5**0.5, abs=1e-5)


# --- the sweep ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("storage")
    assert main("", "toy_hierarchy", PRESETS, [*SMALL, "--storage", str(storage), "--name", "tiny"]) == 0
    return storage


def test_a_tiny_sweep_leaves_results_table_and_runs(finished: Path) -> None:
    from mlflow.tracking import MlflowClient

    results = json.loads((finished / "tiny" / "results.json").read_text())["results"]
    assert set(results) == {f"toy-tree-c0.1-{v}-k2-ef1-s{s}" for v in ("topk", "mp") for s in (0, 1)}
    for name, result in results.items():
        assert result["step"] == 20
        assert 0 < result["val/fvu"] < 1
        assert result["val/tokens"] == 400
        assert 0 < result["recovery/parents"] <= 1
        coder = SparseCoder.load_from_disk(finished / "tiny" / "trials" / name / "coder")
        assert coder.num_latents == 20
    table = (finished / "tiny" / "comparison.md").read_text()
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


def test_resume_trains_what_has_no_result_and_nothing_else(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((finished / "tiny" / "results.json").read_text())["results"]
    kept, lost = (finished / "tiny" / "trials" / f"toy-tree-c0.1-topk-k2-ef1-s{seed}" for seed in (0, 1))
    marked = {**json.loads((kept / "result.json").read_text()), "recovery/leaves": 0.125}
    (kept / "result.json").write_text(json.dumps(marked))
    (lost / "result.json").unlink()
    assert main("", "toy_hierarchy", PRESETS, ["--storage", str(finished), "--resume", "tiny"]) == 0
    after = json.loads((finished / "tiny" / "results.json").read_text())["results"]
    assert after[kept.name] == marked
    assert after[lost.name] == before[lost.name]  # from the start again, and the same
    assert "error" not in capsys.readouterr().err


def test_a_trial_that_diverges_is_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*SMALL, "--storage", str(tmp_path), "--name", "wild", "--lr", "1e30", "--variant", "topk", "--seed", "0"]
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


def test_an_unknown_flag_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main("", "toy_hierarchy", PRESETS, ["--no-such-flag"])
    assert ended.value.code == 2
    assert "no-such-flag" in capsys.readouterr().err


def test_the_presets_differ_from_the_paper_in_length_and_correlations_only() -> None:
    for preset in PRESETS.values():
        assert ToyConfig.from_json(json.dumps(preset.to_json())) == preset
        assert preset.cells()[0].coder.latents(20) == TreeConfig().atoms
    assert PRESETS["paper"].steps == 15_000
