"""What each variant must compute by definition, in plain float64."""

import torch
from torch import Tensor

from kernels import reference
from models import SparseCoder


def plain_weights(coder: SparseCoder) -> dict[str, Tensor]:
    """Parameters in float64, which want gradients."""
    return {name: value.detach().double().clone().requires_grad_() for name, value in coder.named_parameters()}


def plain_fvu(y: Tensor, out: Tensor) -> Tensor:
    return ((y - out) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()


def target_scale(coder: SparseCoder) -> float:
    """What outputs are learned times: a matrix that is subtracted from inputs and makes outputs leaves one scale."""
    recipe = coder.cfg.recipe
    shared = recipe.choice == "pursuit" and recipe.subtraction == "decoder"
    return coder.target_scale if recipe.transcode and not shared else coder.input_scale


def plain_encode(
    coder: SparseCoder, weights: dict[str, Tensor], x: Tensor, k: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations, indices and what is left over, as the definitions read."""
    recipe, k = coder.cfg.recipe, k or coder.cfg.k
    scaled = coder.input_scale * x
    if not recipe.transcode:
        scaled = scaled - weights.get("b_dec", 0)
    elif recipe.choice == "pursuit":
        scaled = scaled - weights["b_in"]
    W_enc, b_enc = (weights["W_dec"], None) if recipe.tied else (weights["encoder.weight"], weights["encoder.bias"])
    if recipe.choice == "topk":
        return *reference.topk_encode(scaled, W_enc, b_enc, k), scaled
    subtracted = {"decoder": weights["W_dec"], "encoder": W_enc, "separate": weights.get("W_sub")}[recipe.subtraction]
    if recipe.study:
        b_dec, refit = weights["b_dec"], recipe.refit == "gradient"
        return reference.study_pursuit(scaled, b_dec, W_enc, b_enc, subtracted, k, refit=refit)
    if recipe.refit == "least-squares":
        return reference.orthogonal_pursuit(scaled, weights["W_dec"], k)
    if recipe.refit == "gradient":
        return reference.gradient_pursuit(scaled, W_enc, b_enc, subtracted, k, sliced=recipe.sliced)
    return reference.matching_pursuit(
        scaled, W_enc, b_enc, subtracted, k,
        detach_residual=coder.cfg.detach_residual, repeats=recipe.repeats, sliced=recipe.sliced,
        residual_threshold=coder.cfg.residual_threshold * coder.input_scale,
    )  # fmt: skip


def plain_decode(
    coder: SparseCoder, weights: dict[str, Tensor], acts: Tensor, indices: Tensor, x: Tensor | None = None
) -> Tensor:
    """`Σ_i a_i W_dec[j_i] + W_skip x + b_dec`, in the units of the target; the study's code leaves `b_dec` out."""
    W_dec = weights["W_dec"]
    rows = [W_dec[i][j] if W_dec.ndim == 3 else W_dec[j] for i, j in enumerate(indices.T)]
    out = sum((a[:, None] * row for a, row in zip(acts.T, rows, strict=True)), torch.zeros(()))
    if "b_dec" in weights and not coder.cfg.recipe.study:
        out = out + weights["b_dec"]
    if "W_skip" in weights:
        out = out + (coder.input_scale * x) @ weights["W_skip"].T
    return out / target_scale(coder)


def plain_forward(coder: SparseCoder, weights: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction, activations and indices."""
    acts, indices, _ = plain_encode(coder, weights, x)
    return plain_decode(coder, weights, acts, indices, x), acts, indices


def plain_auxk(
    coder: SparseCoder, weights: dict[str, Tensor], x: Tensor, dead: Tensor, y: Tensor | None = None
) -> Tensor:
    """The best of the latents where `dead`, on what the others left over, predict the error; one token at a time.

    With a decoder for each step the latent of rank i is written by that of step i, and again from 0 after the last.
    """
    _, _, left = plain_encode(coder, weights, x)
    out, _, _ = plain_forward(coder, weights, x)
    y = x if y is None else y
    half = coder.d_in // 2 or 1
    W_enc, W_dec = weights.get("encoder.weight", weights["W_dec"]), weights["W_dec"]
    total = torch.zeros((), dtype=torch.float64)
    for left_D, error_D in zip(left.detach(), (y - out).detach(), strict=True):
        scores = torch.relu(W_enc @ left_D + weights.get("encoder.bias", 0))
        scores = torch.where(scores > 1e-12, scores, 0.0)  # 0 without rounding: a row at right angles to what is left
        ranked = sorted(dead.nonzero()[:, 0].tolist(), key=lambda j: -scores[j].item())[:half]
        rows = [W_dec[i % coder.cfg.k][j] if W_dec.ndim == 3 else W_dec[j] for i, j in enumerate(ranked)]
        predicted_D = sum(scores[j] * row for j, row in zip(ranked, rows, strict=True)) / target_scale(coder)
        total = total + ((predicted_D - error_D) ** 2).sum()
    return min(1.0, int(dead.sum()) / half) * total / ((y - y.mean(0)) ** 2).sum()
