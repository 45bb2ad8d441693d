"""Choosing a latent on what a set of active ones leaves over, for pursuits that refit."""

import torch
from torch import Tensor

from kernels.backend import backend_of
from kernels.checks import check_alike, check_k, check_matrix, check_same_shape, check_vector
from kernels.forms import refit_form
from kernels.rules import Rules
from kernels.sparse_decode import sparse_decode


def check_pursuit(r0: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, k: int) -> None:
    """Arguments of a pursuit with one decoder must fit each other. Raises ValueError naming the one that does not."""
    check_dictionary(r0, "W_enc", W_enc, k)
    check_same_shape("W_dec", W_dec, W_enc)
    check_alike(r0=r0, W_dec=W_dec)
    if b_enc is not None:
        check_vector("b_enc", b_enc, W_enc.shape[0])
        check_alike(r0=r0, b_enc=b_enc)


def check_dictionary(r0: Tensor, name: str, dictionary: Tensor, k: int) -> None:
    """`dictionary` must have k rows or more, as wide as `r0`. Raises ValueError naming the one that does not fit."""
    check_matrix("r0", r0)
    check_matrix(name, dictionary, columns=r0.shape[1])
    check_alike(**{"r0": r0, name: dictionary})
    check_k(k, dictionary.shape[0])


class Chooser:
    """Latents not chosen yet, by their score on `r0 − Σ_i a_i W_dec[j_i]`. Carries no gradient.

    Scores come from a product per step, or from `s_0 − Σ_i a_i H[j_i]` with `H = W_dec W_encᵀ` where reading the rows
    of H is less work.
    """

    def __init__(self, r0: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, rules: Rules) -> None:
        self.W_enc, self.rules = W_enc.detach(), rules
        self.b_enc = W_enc.new_zeros(W_enc.shape[0]) if b_enc is None else b_enc.detach()
        self.chosen = torch.zeros(r0.shape[0], W_enc.shape[0], dtype=torch.bool, device=r0.device)
        self.gram: Tensor | None = None
        if not rules.sliced and self._rows_are_cheaper(r0):
            self.gram = W_dec.detach() @ self.W_enc.T
            self.first = torch.addmm(self.b_enc, r0.detach(), self.W_enc.T)

    def _rows_are_cheaper(self, r0: Tensor) -> bool:
        num_latents, width = self.W_enc.shape
        rates = backend_of(r0).rates(r0)
        return refit_form(rates, num_latents, width, self.rules.k, r0.element_size()) == "update"

    def exclude(self, latents: Tensor) -> None:
        """These of each token, [B, n] int64, are not chosen."""
        self.chosen.scatter_(1, latents, True)

    @torch.no_grad()
    def best(self, step: int, residual: Tensor, acts: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and latents [B, 1] of step `step`, of what `acts` and `indices` [B, step] leave, and mark them."""
        low, high = self.rules.slice_bounds(step, self.W_enc.shape[0])
        if self.gram is not None:
            scores = self.first - sparse_decode(acts, indices, self.gram) if step else self.first.clone()
        else:
            scores = torch.addmm(self.b_enc[low:high], residual, self.W_enc[low:high].T)
        score, best = scores.relu_().masked_fill_(self.chosen[:, low:high], -1.0).max(dim=1, keepdim=True)
        self.exclude(best + low)
        return score, best + low
