"""Orthogonal matching pursuit (Pati, Rezaiifar & Krishnaprasad 1993): the active set is refitted after every choice."""

import torch
from torch import Tensor
from torch.nn.functional import embedding

from kernels.checks import as_weights
from kernels.rules import Rules
from kernels.scores import Chooser, check_pursuit
from kernels.sparse_decode import sparse_decode, sparse_scores


def orthogonal_pursuit(r0: Tensor, dictionary: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose k latents by their product with the residual, all coefficients least-squares after each.

        j_i = argmax relu(D r) over latents not yet chosen;  a = argmin ‖r0 − Σ_i a_i D[j_i]‖²;  r = r0 − Σ_i a_i D[j_i]

    Coefficients may come out negative, which is what makes the error the least that these latents allow. A token
    whose best score is 0 up to rounding has stopped: the rest of its activations is 0.

    Args:
        r0: `x − b_dec`, [B, D], float32 or float64.
        dictionary: D, rows are latents, [M, D].
        k: steps, 1 to M.

    Returns:
        acts [B, k], indices [B, k] int64, residual [B, D]; differentiable in `r0` and `dictionary` at the latents
        chosen (by the same coefficients as written, through the normal equations).

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument.
    """
    r0 = as_weights(r0, dictionary)
    check_pursuit(r0, dictionary, None, dictionary, k)
    with torch.no_grad():
        indices, active = _choose(r0, dictionary, k)
    rows_BKD = embedding(indices, dictionary) * active[:, :, None]
    acts = _refit(rows_BKD @ rows_BKD.mT, sparse_scores(r0, indices, dictionary) * active, active)
    return acts, indices, r0 - sparse_decode(acts, indices, dictionary)


def _choose(r0: Tensor, dictionary: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices [B, k] and which of them are active, [B, k] bool."""
    tokens = r0.shape[0]
    chooser = Chooser(r0, dictionary, None, dictionary, Rules(k=k))
    indices = torch.zeros(tokens, k, dtype=torch.int64, device=r0.device)
    active = torch.zeros(tokens, k, dtype=torch.bool, device=r0.device)
    gram, products = r0.new_zeros(tokens, k, k), r0.new_zeros(tokens, k)
    rounding = 100 * torch.finfo(r0.dtype).eps * r0.norm(dim=1, keepdim=True) * dictionary.norm(dim=1).max()
    acts, residual = r0.new_zeros(tokens, 0), r0
    for i in range(k):
        score, chosen = chooser.best(i, residual, acts, indices[:, :i])
        indices[:, i : i + 1], active[:, i : i + 1] = chosen, score > rounding
        if i:
            active[:, i] &= active[:, i - 1]
        seen, upto = active[:, : i + 1].to(r0.dtype), indices[:, : i + 1]
        row = sparse_scores(dictionary[chosen[:, 0]], upto, dictionary) * seen * seen[:, -1:]
        gram[:, i, : i + 1] = gram[:, : i + 1, i] = row
        products[:, i] = sparse_scores(r0, chosen, dictionary)[:, 0] * seen[:, -1]
        acts = _refit(gram[:, : i + 1, : i + 1], products[:, : i + 1], active[:, : i + 1])
        residual = r0 - sparse_decode(acts, upto, dictionary)
    return indices, active


def _refit(gram_BKK: Tensor, products_BK: Tensor, active_BK: Tensor) -> Tensor:
    """Least-squares coefficients [B, K]; 0 where not active, whose rows and columns of the Gram matrix are 0."""
    idle = torch.diag_embed((~active_BK).to(gram_BKK.dtype))
    acts: Tensor = torch.linalg.solve(gram_BKK + idle, products_BK[:, :, None])[:, :, 0]
    return acts
