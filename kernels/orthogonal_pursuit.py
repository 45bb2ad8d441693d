"""Orthogonal matching pursuit (Pati, Rezaiifar & Krishnaprasad 1993): the active set is refitted after every choice."""

import torch
from torch import Tensor

from kernels.checks import as_weights
from kernels.rules import Rules
from kernels.scores import Chooser, check_dictionary
from kernels.sparse_decode import sparse_decode, sparse_scores


def orthogonal_pursuit(r0: Tensor, dictionary: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose k latents by their product with the residual, all coefficients least-squares after each.

        j_i = argmax relu(D r) over latents not yet chosen;  a = argmin ‖r0 − Σ_i a_i D[j_i]‖²;  r = r0 − Σ_i a_i D[j_i]

    Coefficients may come out negative, which is what makes the error the least that these latents allow. A token
    whose best score is 0 up to rounding has stopped: the rest of its activations is 0. So is that of a latent which
    the ones before it span up to rounding.

    Args:
        r0: `x − b_dec`, [B, D], float32 or float64.
        dictionary: D, rows are latents, [M, D].
        k: steps, 1 to M.

    Returns:
        acts [B, k], indices [B, k] int64, residual [B, D]; differentiable, once, in `r0` and `dictionary` at the
        latents chosen.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument.
    """
    r0 = as_weights(r0, dictionary)
    check_dictionary(r0, "dictionary", dictionary, k)
    with torch.no_grad():
        acts, indices, active, factor = _pursue(r0, dictionary, k)
    # The refit once more, from coefficients that are already best: nothing moves, and the gradients are those of a.
    acts = _refit(r0 - sparse_decode(acts, indices, dictionary), acts, indices, dictionary, active, factor)
    return acts, indices, r0 - sparse_decode(acts, indices, dictionary)


def _pursue(r0: Tensor, dictionary: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coefficients and indices [B, k], which of them are active [B, k], the Gram matrices' Cholesky factors [B, k, k].

    Inactive is what a token chose after it stopped, and a latent that those before it span up to rounding.
    """
    tokens, eps = r0.shape[0], torch.finfo(r0.dtype).eps
    chooser = Chooser(r0, dictionary, None, dictionary, Rules(k=k))
    indices = torch.zeros(tokens, k, dtype=torch.int64, device=r0.device)
    active, factor = r0.new_zeros(tokens, k), r0.new_zeros(tokens, k, k)
    rounding = 100 * eps * r0.norm(dim=1, keepdim=True) * dictionary.norm(dim=1).max()
    acts, residual, going = r0.new_zeros(tokens, 0), r0, torch.ones_like(rounding, dtype=torch.bool)
    for i in range(k):
        score, chosen = chooser.best(i, residual, acts, indices[:, :i])
        indices[:, i : i + 1], upto = chosen, indices[:, : i + 1]
        going &= score > rounding
        row = sparse_scores(dictionary[chosen[:, 0]], upto, dictionary)
        before, own = row[:, :i] * active[:, :i], row[:, i:]
        spanned = torch.linalg.solve_triangular(factor[:, :i, :i], before[:, :, None], upper=False)[:, :, 0]
        rest = own - spanned.pow(2).sum(dim=1, keepdim=True)  # squared distance from the span of those before
        seen = going & (rest > 1000 * eps * own)
        active[:, i : i + 1] = seen
        factor[:, i, :i] = spanned * seen
        factor[:, i, i] = torch.where(seen, rest, 1).sqrt()[:, 0]
        acts = torch.cat([acts, torch.zeros_like(score)], dim=1)
        acts = _refit(residual, acts, upto, dictionary, active[:, : i + 1], factor[:, : i + 1, : i + 1])
        residual = r0 - sparse_decode(acts, upto, dictionary)
    return acts, indices, active, factor


def _refit(
    residual: Tensor, acts: Tensor, indices: Tensor, dictionary: Tensor, active: Tensor, factor: Tensor
) -> Tensor:
    """Least-squares coefficients [B, K] out of any others and what those leave over, `a + G⁻¹ D r`."""
    slope = sparse_scores(residual, indices, dictionary) * active
    return acts + torch.cholesky_solve(slope[:, :, None], factor)[:, :, 0]
