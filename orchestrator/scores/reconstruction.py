"""How well a coder reconstructs held-out tokens, kind by kind, and how often its latents fire.

Sums are float64 and over as many batches as there are. Shape suffixes: B tokens of a batch, D width, M latents, K
active latents per token.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from models import SparseCoder
from models.evaluation import FvuSum
from orchestrator.scores.held_out import HeldOut, HeldOutTokens

KINDS = ("norm_q1", "norm_q2", "norm_q3", "norm_q4", "first", "massive")
"""Quartiles of the norm of ordinary tokens, the lowest first, and the tokens that are not ordinary."""


@dataclass
class Firing:
    """Of each latent over ordinary tokens."""

    tokens: int
    count_M: Tensor
    """Tokens it was active on, int64."""
    step_M: Tensor
    """Sum over those of its place in the order of choices, from 0, float64."""

    @property
    def rate_M(self) -> Tensor:
        """Share of tokens it was active on, float64."""
        return self.count_M.double() / max(self.tokens, 1)

    @property
    def mean_step_M(self) -> Tensor:
        """Mean place in the order in which a pursuit chooses, from 0; NaN for a latent that never fired."""
        return self.step_M / self.count_M


@dataclass
class Reconstruction:
    """Sums over held-out tokens; `add` batches, then read `metrics` and `firing`."""

    coder: SparseCoder
    gram: Tensor | None = field(repr=False)
    """`coder.gram` of all tokens to come, shared by the batches."""
    kinds: dict[str, FvuSum] = field(default_factory=lambda: {kind: FvuSum() for kind in KINDS})
    ordinary: FvuSum = field(default_factory=FvuSum)
    cosine: float = 0.0
    ratio: float = 0.0
    _ordinary: list[Tensor] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        latents = self.coder.num_latents
        self.firing = Firing(0, torch.zeros(latents, dtype=torch.int64), torch.zeros(latents, dtype=torch.float64))

    @torch.no_grad()
    def add(self, tokens: HeldOut) -> None:
        """Count one batch."""
        device = self.coder.W_dec.device
        x_BD, y_BD = tokens.x_BD.to(device), tokens.y_BD.to(device)
        out = self.coder(x_BD, y_BD, gram=self.gram)
        for kind, chosen_B in self._kinds(tokens).items():
            self.kinds[kind].add(y_BD[chosen_B], out.sae_out[chosen_B])
        ordinary_B = tokens.ordinary_B
        self._ordinary.append(ordinary_B)
        y_BD, out_BD = y_BD[ordinary_B], out.sae_out[ordinary_B]
        self.ordinary.add(y_BD, out_BD)
        self.cosine += float(torch.cosine_similarity(y_BD, out_BD, dim=-1).sum(dtype=torch.float64))
        self.ratio += float((out_BD.norm(dim=-1) / y_BD.norm(dim=-1)).nan_to_num(1.0).sum(dtype=torch.float64))
        self._count(out.latent_acts[ordinary_B].cpu(), out.latent_indices[ordinary_B].cpu())

    def _kinds(self, tokens: HeldOut) -> dict[str, Tensor]:
        quartiles = {f"norm_q{q + 1}": tokens.ordinary_B & (tokens.quartile_B == q) for q in range(4)}
        return {**quartiles, "first": ~tokens.ordinary_B & ~tokens.massive_B, "massive": tokens.massive_B}

    def _count(self, acts_BK: Tensor, indices_BK: Tensor) -> None:
        fired_BK = acts_BK != 0
        step_BK = torch.arange(acts_BK.shape[1], dtype=torch.float64).expand(acts_BK.shape)
        self.firing.tokens += len(acts_BK)
        self.firing.count_M += torch.bincount(indices_BK[fired_BK], minlength=len(self.firing.count_M))
        self.firing.step_M.index_add_(0, indices_BK[fired_BK], step_BK[fired_BK])

    def metrics(self) -> dict[str, float]:
        """SAELens' names where it has them: mean cosine, `l2_ratio` = mean ‖ŷ‖/‖y‖ (below 1 is shrinkage).

        Explained variance is 1 - FVU, of each kind about the mean of that kind; kinds without tokens are left out.
        """
        n = max(self.ordinary.tokens, 1)
        found = {
            "reconstruction_quality/explained_variance": 1 - self.ordinary.fvu(),
            "reconstruction_quality/cossim": self.cosine / n,
            "shrinkage/l2_ratio": self.ratio / n,
        }
        for kind, total in self.kinds.items():
            if total.tokens > 1:
                found[f"reconstruction_quality/explained_variance_{kind}"] = 1 - total.fvu()
        return found

    @property
    def ordinary_T(self) -> Tensor:
        """bool: of every held-out token so far, whether it is of the kind that is trained on."""
        return torch.cat(self._ordinary)

    @property
    def mean_D(self) -> Tensor:
        """Mean of the ordinary tokens' targets, float32."""
        if not self.ordinary.tokens:
            raise ValueError("no held-out token is an ordinary one")
        return self.ordinary.mean_D.float()


def reconstruction(coder: SparseCoder, tokens: HeldOutTokens, expected: int) -> Reconstruction:
    """Run over all held-out tokens, of which some `expected` are coming."""
    found = Reconstruction(coder, coder.gram(expected))
    for batch in tokens:
        found.add(batch)
    return found
