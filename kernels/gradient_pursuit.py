"""Gradient pursuit (Blumensath & Davies 2008), the step of inference-time optimisation (Smith 2024)."""

import torch
from torch import Tensor

from kernels.sparse_decode import sparse_decode, sparse_scores


def gradient_pursuit_step(x: Tensor, acts: Tensor, indices: Tensor, dictionary: Tensor) -> Tensor:
    """Move all active coefficients of each token along the gradient of its error, as far as reduces it most.

    With `r = x − Σ_i a_i D[j_i]`: `g = D[j] r`, `c = Σ_i g_i D[j_i]`, and `a ← relu(a + g·⟨c, r⟩ / ⟨c, c⟩)`.

    Args:
        x: what is to be reconstructed, without bias, [B, D], float32 or float64.
        acts: coefficients, [B, K].
        indices: latent of each coefficient, [B, K], int64 in [0, M), distinct within a token.
        dictionary: rows are latents, [M, D].

    Returns:
        New coefficients [B, K], differentiable in `x`, `acts` and `dictionary`. Where the gradient is 0 they stay.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, naming the argument.
    """
    residual = x - sparse_decode(acts, indices, dictionary)
    gradient = sparse_scores(residual, indices, dictionary)
    change = sparse_decode(gradient, indices, dictionary)
    norm = change.pow(2).sum(dim=1, keepdim=True)
    step = (change * residual).sum(dim=1, keepdim=True) / torch.where(norm > 0, norm, 1)
    return torch.relu(acts + step * gradient)
