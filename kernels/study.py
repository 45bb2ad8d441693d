"""Pursuits of an autoencoder as the code computes them that Shabalin & Paulo 2025 link to (sparsify, branch mp-sae).

They differ from `matching_pursuit` and `gradient_pursuit` in what is subtracted: the first score is taken of
`x − 2·b_dec`, later ones of `x − b_dec − Σ_i a_i W_dec[j_i]`; a refit moves on the gradient at the error of `x` itself,
as it was before the new coefficient, which so is counted twice. Their output is `Σ_i a_i W_dec[j_i]` without `b_dec`.
docs/study.md says what each of these does.
"""

import torch
from torch import Tensor

from kernels.checks import as_weights, check_alike, check_vector
from kernels.gradient_pursuit import activation, moved
from kernels.matching_pursuit import matching_pursuit
from kernels.rules import Rules
from kernels.scores import Chooser, check_pursuit
from kernels.sparse_decode import sparse_decode
from kernels.topk import topk_encode


def study_matching_pursuit(
    r0: Tensor, b_dec: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, k: int, *, gram: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Matching pursuit whose first step subtracts the bias once more.

        j_0 = argmax relu(W_enc (r0 − b_dec) + b_enc), a_0 that score; r_1 = r0 − a_0 W_dec[j_0]; from there as
        `matching_pursuit` does, without j_0

    A token whose best score is 0 has stopped, but for the first step, after which the others are looked for all the
    same. (The source goes on with latents that tie at 0, in no order that it says.)

    Args:
        r0: `x − b_dec`, [B, D], float32 or float64.
        b_dec: decoder bias, [D].
        W_enc: encoder, rows are latents, [M, D].
        b_enc: encoder bias, [M], or None.
        W_dec: decoder, rows are latents of any length, [M, D].
        k: steps, 1 to M.
        gram: `decoder_gram(W_dec, W_enc)` where the caller has it already.

    Returns:
        acts [B, k], indices [B, k] int64, residual `x − b_dec − Σ_i a_i W_dec[j_i]` [B, D]; differentiable in `r0`,
        `b_dec`, `W_enc`, `b_enc` and `W_dec`.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument.
    """
    r0 = as_weights(r0, W_enc)
    _check(r0, b_dec, W_enc, b_enc, W_dec, k)
    acts, indices = topk_encode(r0 - b_dec, W_enc, b_enc, 1)
    residual = r0 - sparse_decode(acts, indices, W_dec)
    if k == 1:
        return acts, indices, residual
    more, others, residual = matching_pursuit(residual, W_enc, b_enc, W_dec, k - 1, gram=gram, excluded=indices[:, 0])
    return torch.cat([acts, more], dim=1), torch.cat([indices, others], dim=1), residual


def study_gradient_pursuit(
    r0: Tensor, b_dec: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The same choices, with a step of all coefficients after every choice but the first.

        e = r0 + b_dec − Σ_{l<i} a_l W_dec[j_l];  g = W_enc[j] e for j_0 … j_i;  c = Σ_l g_l W_enc[j_l];
        a ← relu((a, a_i) + g·⟨g, g⟩ / ⟨c, c⟩), with a_i the score of the new latent, which e does not know of

    Arguments, errors and what is returned are those of `study_matching_pursuit`. Where the gradient is 0 coefficients
    stay (the source divides 0 by 0).
    """
    r0 = as_weights(r0, W_enc)
    _check(r0, b_dec, W_enc, b_enc, W_dec, k)
    chooser = Chooser(r0, W_enc, b_enc, W_dec, Rules(k=k))
    acts, indices = topk_encode(r0 - b_dec, W_enc, b_enc, 1)
    chooser.exclude(indices)
    residual = r0 - sparse_decode(acts, indices, W_dec)
    for i in range(1, k):
        _, chosen = chooser.best(i, residual, acts, indices)
        new = activation(residual, chosen, W_enc, b_enc)
        acts, indices = torch.cat([acts, new], dim=1), torch.cat([indices, chosen], dim=1)
        acts = torch.where(new > 0, moved(residual + b_dec, acts, indices, W_enc), acts)
        residual = r0 - sparse_decode(acts, indices, W_dec)
    return acts, indices, residual


def _check(r0: Tensor, b_dec: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, k: int) -> None:
    check_pursuit(r0, W_enc, b_enc, W_dec, k)
    check_vector("b_dec", b_dec, r0.shape[1])
    check_alike(r0=r0, b_dec=b_dec)
