"""A two-level tree of concepts with a known dictionary, after the synthetic experiment of Costa et al. 2025.

*From Flat to Hierarchical: Extracting Sparse Representations with Matching Pursuit*, arXiv 2506.03093; the numbers are
those of the authors' code (github.com/mpsae/MP-SAE: `tree.json`, `toy_model.py`, `train_saes_on_toy.ipynb`), which took
the tree from N. Nabeshima's toy model of Matryoshka SAEs. With P parents, C children under each and L leaves with none:

    atoms        N = P + P·C + L unit vectors in d dimensions; the paper: P = 3, C = 3, L = 8, so N = 20 = d
    correlation  ⟨u, v⟩ = c for two different atoms u, v of the top level (parents and leaves), and for two siblings;
                 ⟨u, v⟩ = 0 for children of different parents. The paper: c = 0, 0.1, …, 0.8
    levels       ⟨child, parent⟩ = h for a child and its own parent, here as there 0 unless said otherwise: then the two
                 levels are orthogonal. h > 0, which the paper does not have, gives √(1 − h²)·child + h·parent
    sparsity     exactly one top-level atom is active: each parent with probability 0.2, each leaf with 0.4 / L; under
                 an active parent at most one child is: each with probability 0.6 / C, none with 0.4.
                 E‖z‖₀ = 1 + 0.6 · 0.6 = 1.36, and 2 at most (numbers for P = 3)
    magnitude    of an active atom: 1.5 + 0.25 ε, ε ~ N(0, 1), independent of everything
    sample       x = Σ_i z_i · atom_i, without noise

Atoms that share a cosine c are rows of the symmetric square root of (1 − c) I + c 11ᵀ in a random orthonormal basis,
which is what the authors' "mixing" of basis vectors comes to after its rows are normalised.

Shape suffixes: B samples, D width, N atoms, M latents, G atoms of one group.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PARENT_PROBABILITY = 0.2
CHILD_PROBABILITY = 0.6
"""Of any child at all, given its parent."""
MAGNITUDE, SPREAD = 1.5, 0.25


@dataclass(frozen=True, kw_only=True)
class TreeConfig:
    """The tree and its geometry. Raises ValueError naming the field for values out of range."""

    d_in: int = 20
    """Width of a sample."""
    parents: int = 3
    """Top-level atoms that have children."""
    children: int = 3
    """Children under each parent."""
    leaves: int = 8
    """Top-level atoms that have none."""
    correlation: float = 0.1
    """c, the cosine between two atoms of the top level, and between two siblings."""
    overlap: float = 0.0
    """h, the cosine between a child and its parent; 0 makes the levels orthogonal."""

    def __post_init__(self) -> None:
        for field in ("parents", "children", "leaves"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} {getattr(self, field)}: must be 1 or more")
        if self.parents * PARENT_PROBABILITY >= 1:
            raise ValueError(
                f"parents {self.parents}: must be at most 4, each being active with probability {PARENT_PROBABILITY}"
            )
        for field in ("correlation", "overlap"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"{field} {getattr(self, field)}: must be from 0 to below 1")
        if self.d_in < self.atoms:
            raise ValueError(f"d_in {self.d_in}: must be at least the number of atoms, {self.atoms}")

    @property
    def atoms(self) -> int:
        """Number of atoms in all."""
        return self.parents * (1 + self.children) + self.leaves

    @property
    def name(self) -> str:
        """What names the setting in tables and runs."""
        return f"tree-c{self.correlation:g}" + (f"-h{self.overlap:g}" if self.overlap else "")

    @property
    def levels(self) -> dict[str, slice]:
        """Where each kind of atom is among the rows of the dictionary."""
        first_leaf, first_child = self.parents, self.parents + self.leaves
        return {
            "parents": slice(0, first_leaf),
            "leaves": slice(first_leaf, first_child),
            "children": slice(first_child, self.atoms),
        }

    @property
    def active_per_sample(self) -> float:
        """E‖z‖₀."""
        return 1 + self.parents * PARENT_PROBABILITY * CHILD_PROBABILITY


class Tree:
    """One dictionary drawn at random, and samples from it. Children are in the order of their parents."""

    def __init__(self, cfg: TreeConfig, seed: int) -> None:
        self.cfg = cfg
        generator = torch.Generator().manual_seed(seed)
        basis_DD, _ = torch.linalg.qr(torch.randn(cfg.d_in, cfg.d_in, generator=generator, dtype=torch.float64))
        basis_ND, top = basis_DD[: cfg.atoms], cfg.parents + cfg.leaves
        groups = [(0, top), *((top + p * cfg.children, cfg.children) for p in range(cfg.parents))]
        atoms_ND = torch.cat([_mixing(size, cfg.correlation) @ basis_ND[at : at + size] for at, size in groups])
        own_parent = atoms_ND[: cfg.parents].repeat_interleave(cfg.children, dim=0)
        atoms_ND[top:] = math.sqrt(1 - cfg.overlap**2) * atoms_ND[top:] + cfg.overlap * own_parent
        self.atoms_ND = atoms_ND.float()
        """The true dictionary: parents, leaves, children."""

    def activations(self, samples: int, generator: torch.Generator) -> Tensor:
        """z of independent samples, [B, N]; 0 where an atom is not active."""
        cfg = self.cfg
        leaf = (1 - cfg.parents * PARENT_PROBABILITY) / cfg.leaves
        weights = torch.tensor([PARENT_PROBABILITY] * cfg.parents + [leaf] * cfg.leaves)
        top_B = torch.multinomial(weights, samples, replacement=True, generator=generator)
        which_B = torch.randint(cfg.children, (samples,), generator=generator)
        has_child_B = (top_B < cfg.parents) & (torch.rand(samples, generator=generator) < CHILD_PROBABILITY)
        child_B = len(weights) + top_B * cfg.children + which_B
        z_BN = torch.zeros(samples, cfg.atoms)
        rows = torch.arange(samples)
        z_BN[rows, top_B] = 1.0
        z_BN[rows[has_child_B], child_B[has_child_B]] = 1.0
        return z_BN * (MAGNITUDE + SPREAD * torch.randn(samples, cfg.atoms, generator=generator))

    def sample(self, samples: int, generator: torch.Generator) -> Tensor:
        """Independent samples x, [B, D]."""
        return self.activations(samples, generator) @ self.atoms_ND


def _mixing(size: int, correlation: float) -> Tensor:
    """The symmetric square root of (1 − c) I + c 11ᵀ, [G, G]."""
    off = (math.sqrt(1 - correlation + correlation * size) - math.sqrt(1 - correlation)) / size
    eye_GG = torch.eye(size, dtype=torch.float64)
    return eye_GG * math.sqrt(1 - correlation) + off


def recovery(cfg: TreeConfig, atoms_ND: Tensor, rows_MD: Tensor) -> dict[str, float]:
    """How well each kind of atom is found: the mean over its atoms of the largest cosine with any of `rows_MD`.

    1 for the true dictionary in any order. Signed, since activations are not negative: a row −atom is another
    direction. `recovery/all` is the mean over all atoms. One row may be the nearest to several atoms.
    """
    unit_MD = torch.nn.functional.normalize(rows_MD.detach().to(atoms_ND), dim=1)
    nearest_N = (atoms_ND @ unit_MD.T).amax(dim=1)
    found = {f"recovery/{level}": float(nearest_N[at].mean()) for level, at in cfg.levels.items()}
    return {**found, "recovery/all": float(nearest_N.mean())}
