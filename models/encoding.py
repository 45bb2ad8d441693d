"""Choosing the active latents of a batch: the one place where a variant's recipe becomes a call into `kernels`."""

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from kernels import gradient_pursuit, matching_pursuit, orthogonal_pursuit, topk_encode

if TYPE_CHECKING:
    from models.sparse_coder import SparseCoder


class Encoded(NamedTuple):
    """Active latents of each token."""

    latent_acts: Tensor
    """Activations, [B, K]."""
    latent_indices: Tensor
    """Latents, [B, K] int64."""
    unexplained: Tensor
    """What latents not chosen can still be scored on, [B, D]: the centred input (topk) or a pursuit's last residual."""


def choose(coder: "SparseCoder", centred_BD: Tensor, k: int, gram: Tensor | None) -> Encoded:
    """The k active latents of centred inputs, in units of `input_scale · x`, as the coder's recipe says."""
    recipe, cfg = coder.cfg.recipe, coder.cfg
    if recipe.choice == "topk":
        return Encoded(*topk_encode(centred_BD, coder.W_enc, coder.b_enc, k), centred_BD)
    if recipe.refit == "least-squares":
        return Encoded(*orthogonal_pursuit(centred_BD, coder.W_dec, k))
    if recipe.refit == "gradient":
        return Encoded(
            *gradient_pursuit(centred_BD, coder.W_enc, coder.b_enc, coder.subtracted_rows, k, sliced=recipe.sliced)
        )
    return Encoded(
        *matching_pursuit(
            centred_BD, coder.W_enc, coder.b_enc, coder.subtracted_rows, k, detach_residual=cfg.detach_residual,
            repeats=recipe.repeats, sliced=recipe.sliced, gram=gram,
            residual_threshold=cfg.residual_threshold * coder.input_scale,
        )
    )  # fmt: skip
