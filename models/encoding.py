"""Choosing the active latents of a batch: the one place where a variant's recipe becomes a call into `kernels`.

Shape suffixes: B tokens, D input width, M latents, K active latents per token.
"""

from typing import NamedTuple

from torch import Tensor

from kernels import (
    gradient_pursuit,
    matching_pursuit,
    orthogonal_pursuit,
    study_gradient_pursuit,
    study_matching_pursuit,
    topk_encode,
)
from models.config import SparseCoderConfig


class Encoded(NamedTuple):
    """Active latents of each token."""

    latent_acts: Tensor
    """Activations, [B, K]."""
    latent_indices: Tensor
    """Latents, [B, K] int64."""
    unexplained: Tensor
    """What latents not chosen can still be scored on, [B, D]: the centred input (topk) or a pursuit's last residual."""


class EncoderWeights(NamedTuple):
    """What latents are scored with, and what a pursuit takes away once it has chosen one."""

    W_enc: Tensor
    """Rows that score, [M, D]; the decoder's where it is tied."""
    b_enc: Tensor | None
    """Added to the scores, [M]; None where tied."""
    subtracted: Tensor
    """Rows subtracted per unit of activation, [M, D], or [k, M, D] with one matrix per step."""
    b_dec: Tensor | None
    """What inputs were centred by, [D]; the study's code subtracts it once more."""


def choose(
    cfg: SparseCoderConfig,
    weights: EncoderWeights,
    centred_BD: Tensor,
    k: int,
    *,
    gram: Tensor | None,
    residual_threshold: float,
) -> Encoded:
    """The k active latents of centred inputs, as the recipe says.

    `residual_threshold` is in the units of `centred_BD`, which those of the activations are too; `gram` is the matrix
    of products of subtracted and scoring rows, None to have it made where it pays.
    """
    recipe, (W_enc, b_enc, subtracted, b_dec) = cfg.recipe, weights
    if recipe.choice == "topk":
        return Encoded(*topk_encode(centred_BD, W_enc, b_enc, k), centred_BD)
    if recipe.study and b_dec is not None:
        if recipe.refit == "gradient":
            return Encoded(*study_gradient_pursuit(centred_BD, b_dec, W_enc, b_enc, subtracted, k))
        return Encoded(*study_matching_pursuit(centred_BD, b_dec, W_enc, b_enc, subtracted, k, gram=gram))
    if recipe.refit == "least-squares":  # tied: the encoder is the dictionary
        return Encoded(*orthogonal_pursuit(centred_BD, W_enc, k))
    if recipe.refit == "gradient":
        return Encoded(*gradient_pursuit(centred_BD, W_enc, b_enc, subtracted, k, sliced=recipe.sliced))
    return Encoded(
        *matching_pursuit(
            centred_BD, W_enc, b_enc, subtracted, k, detach_residual=cfg.detach_residual, repeats=recipe.repeats,
            sliced=recipe.sliced, gram=gram, residual_threshold=residual_threshold,
        )
    )  # fmt: skip
