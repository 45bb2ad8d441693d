"""Gradient pursuit (Blumensath & Davies 2008), the algorithm of inference-time optimisation (Smith 2024)."""

import torch
from torch import Tensor

from kernels.checks import as_weights, check_alike, check_matrix, check_same_shape
from kernels.rules import Rules
from kernels.scores import Chooser, check_pursuit
from kernels.sparse_decode import sparse_decode, sparse_scores


def gradient_pursuit_step(
    x: Tensor, acts: Tensor, indices: Tensor, dictionary: Tensor, decoder: Tensor | None = None
) -> Tensor:
    """Move all active coefficients of each token along the gradient of its error, as far as reduces it most.

    With `r = x − Σ_i a_i W[j_i]`: `g = D[j] r`, `c = Σ_i g_i D[j_i]`, and `a ← relu(a + g·⟨c, r⟩ / ⟨c, c⟩)`. ⟨c, r⟩ is
    ⟨g, g⟩, and taken as such, or the ratio would be one of rounding errors where a single latent fits already.

    Args:
        x: what is to be reconstructed, without bias, [B, D], float32 or float64.
        acts: coefficients, [B, K].
        indices: latent of each coefficient, [B, K], int64 in [0, M), distinct within a token.
        dictionary: D, rows are latents, [M, D].
        decoder: W, rows are latents, [M, D]; the dictionary unless given.

    Returns:
        New coefficients [B, K], differentiable in `x`, `acts`, `dictionary` and `decoder`. Where the gradient is 0
        they stay.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument.
    """
    x, acts = as_weights(x, dictionary), as_weights(acts, dictionary)
    decoder = dictionary if decoder is None else decoder
    check_matrix("dictionary", dictionary)
    check_same_shape("decoder", decoder, dictionary)
    check_matrix("x", x, columns=dictionary.shape[1])
    check_matrix("acts", acts)
    check_alike(dictionary=dictionary, decoder=decoder, x=x, acts=acts)
    if len(acts) != len(x):
        raise ValueError(f"acts has shape {list(acts.shape)}; expected [{len(x)}, K]")
    return moved(x - sparse_decode(acts, indices, decoder), acts, indices, dictionary)


def moved(residual: Tensor, acts: Tensor, indices: Tensor, dictionary: Tensor) -> Tensor:
    """Coefficients [B, K] after a step along the gradient at `residual` [B, D], of the length that reduces it most."""
    gradient = sparse_scores(residual, indices, dictionary)
    change = sparse_decode(gradient, indices, dictionary)
    norm = change.pow(2).sum(dim=1, keepdim=True)
    step = gradient.pow(2).sum(dim=1, keepdim=True) / torch.where(norm > 0, norm, 1)
    return torch.relu(acts + step * gradient)


def activation(residual: Tensor, chosen: Tensor, W_enc: Tensor, b_enc: Tensor | None) -> Tensor:
    """`relu(⟨W_enc[j], residual⟩ + b_enc[j])` of the chosen latents [B, 1], differentiable."""
    score = sparse_scores(residual, chosen, W_enc)
    return torch.relu(score if b_enc is None else score + b_enc[chosen])


def gradient_pursuit(
    r0: Tensor, W_enc: Tensor, b_enc: Tensor | None, W_dec: Tensor, k: int, *, sliced: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose k latents as matching pursuit does; after each, all coefficients take one step on the dictionary W_enc.

        j_i = argmax relu(W_enc r + b_enc) over latents not yet chosen, with r = r0 − Σ_i a_i W_dec[j_i];
        a_i = that score;  a ← `gradient_pursuit_step`(r0, a, j, W_enc, W_dec)

    Args:
        r0: `x − b_dec`, [B, D], float32 or float64.
        W_enc: encoder and dictionary of the step, rows are latents, [M, D].
        b_enc: encoder bias, [M], or None.
        W_dec: decoder, rows are latents, [M, D]; the same tensor as `W_enc` where there is one dictionary.
        k: steps, 1 to M. A token whose best score is 0 has stopped: the rest of its activations is 0.
            With `sliced` only this step's is, since the next chooses among other latents.
        sliced: cut the latents into k slices; step i chooses in slice i, `i·M // k` to `(i + 1)·M // k`.

    Returns:
        acts [B, k], indices [B, k] int64, residual [B, D]; differentiable in `r0`, `W_enc`, `b_enc` and `W_dec`.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument.
    """
    r0 = as_weights(r0, W_enc)
    check_pursuit(r0, W_enc, b_enc, W_dec, k)
    chooser = Chooser(r0, W_enc, b_enc, W_dec, Rules(k=k, sliced=sliced))
    acts, indices = r0.new_zeros(r0.shape[0], 0), torch.zeros(r0.shape[0], 0, dtype=torch.int64, device=r0.device)
    residual = r0
    for i in range(k):
        _, chosen = chooser.best(i, residual, acts, indices)
        new = activation(residual, chosen, W_enc, b_enc)
        acts, indices = torch.cat([acts, new], dim=1), torch.cat([indices, chosen], dim=1)
        acts = torch.where(new > 0, gradient_pursuit_step(r0, acts, indices, W_enc, W_dec), acts)
        residual = r0 - sparse_decode(acts, indices, W_dec)
    return acts, indices, residual
