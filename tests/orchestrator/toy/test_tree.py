"""The synthetic tree: its dictionary, its samples and what counts as recovered."""

import pytest
import torch

from models import SparseCoder, SparseCoderConfig
from orchestrator.toy.run import stream
from orchestrator.toy.tree import Tree, TreeConfig, recovery

SETTINGS = [(0.0, 0.0), (0.1, 0.0), (0.8, 0.0), (0.3, 0.4)]


SHAPES = [{}, {"d_in": 40, "parents": 2, "children": 5, "leaves": 3}]


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
