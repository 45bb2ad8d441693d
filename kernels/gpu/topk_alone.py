"""TopK of a few tokens, each on its own: those that the search by tiles has to leave.

Programs of tokens that are not wanted end at once, so that the host need not know which are.
"""

import triton
import triton.language as tl
from torch import Tensor

COLUMNS, BLOCK_D = 64, 32
"""Latents, and coordinates of each, that are multiplied at once."""


@triton.jit
def _one_by_one_kernel(
    x, weight, bias, wanted, acts, indices, M, D, K,
    HAS_BIAS: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """A wanted token's K best latents, one after the other: each time the best of those after the one before.

    Latents are ordered by score, descending, then by number. NaN counts as infinite, so that indices stay distinct.
    """
    token = tl.program_id(0).to(tl.int64)
    if tl.load(wanted + token):
        last_score, last = tl.full([], float("inf"), tl.float32), tl.full([], -1, tl.int32)
        for i in range(K):
            best_score, best = tl.full([], -float("inf"), tl.float32), tl.full([], 0, tl.int32) + M
            for start in range(0, M, COLUMNS):
                latent = start + tl.arange(0, COLUMNS)
                score = tl.zeros([COLUMNS], tl.float32)
                for first in range(0, D, BLOCK_D):
                    inner = first + tl.arange(0, BLOCK_D)
                    value = tl.load(x + token * D + inner, mask=inner < D, other=0.0)
                    at = weight + latent.to(tl.int64)[:, None] * D + inner[None, :]
                    inside = (latent < M)[:, None] & (inner < D)[None, :]
                    score += tl.sum(tl.load(at, mask=inside, other=0.0) * value[None, :], axis=1)
                if HAS_BIAS:
                    score += tl.load(bias + latent, mask=latent < M, other=0.0)
                score = tl.where(score != score, float("inf"), score)
                after = (score < last_score) | ((score == last_score) & (latent > last))
                score = tl.where(after & (latent < M), score, -float("inf"))
                tile_score = tl.max(score, axis=0)
                tile_best = tl.min(tl.where((score == tile_score) & after & (latent < M), latent, M), axis=0)
                better = (tile_score > best_score) | ((tile_score == best_score) & (tile_best < best))
                best_score, best = tl.where(better, tile_score, best_score), tl.where(better, tile_best, best)
            last_score, last = best_score, best
            tl.store(acts + token * K + i, tl.maximum(best_score, 0.0))
            tl.store(indices + token * K + i, tl.minimum(best, M - 1).to(tl.int64))


def choose_alone(
    x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, wanted_B: Tensor, acts_BK: Tensor, indices_BK: Tensor
) -> None:
    """Write activations and indices [B, K] of the tokens that `wanted_B`, bool, names."""
    tokens, k = acts_BK.shape
    _one_by_one_kernel[(tokens,)](
        x_BD, W_enc_MD, x_BD if b_enc_M is None else b_enc_M, wanted_B, acts_BK, indices_BK,
        W_enc_MD.shape[0], x_BD.shape[1], k, HAS_BIAS=b_enc_M is not None, COLUMNS=COLUMNS, BLOCK_D=BLOCK_D,
    )  # fmt: skip
