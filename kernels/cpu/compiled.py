"""Matching pursuit and TopK through the compiled extension: candidates from low-precision products, float32 decides.

Scores of all latents come from one matrix product per chunk of tokens, in bfloat16 or int8 where the processor
multiplies them faster. They are only good enough to say which latents can be the best; those are scored again as
float32 dot products with the float32 residual, which also gives the activation. csrc does that for a token; this file
feeds it.
"""

import ctypes
import math

import torch
from torch import Tensor

from kernels.cpu import native
from kernels.cpu.operands import KINDS, ROWS_AT_ONCE, make_operand, operand_dtype
from kernels.rules import Rules

SIGMAS = 4.3
"""Standard deviations by which a score may move or err before it is trusted no longer (docs/kernels.md: agreement)."""
SHORTLIST_BLOCKS = 256
"""Blocks of 16 latents that the screening form's shortlist is drawn from."""
SCORES_AT_ONCE = 1 << 22
"""Scores of all latents held at a time: few enough for a core's share of the cache, enough for full-speed products."""
NEVER = -1e30
"""What an infinitely negative bias is taken for: a latent that is never chosen. As csrc/common.h has it."""
SPREAD_SAMPLE = 1024
"""Latents from which the encoder's second moment is taken."""
ROUNDING = {torch.bfloat16: 5e-3, torch.float32: 1e-5, torch.int8: 0.0}
"""Error of a score computed from operands of a dtype, as a fraction of `reach · ‖r‖`; int8 knows its own."""


def gram_of(W_dec_MD: Tensor, W_enc_MD: Tensor, dtype: torch.dtype) -> Tensor:
    """`W_dec W_encᵀ` of operands in `dtype`, [M, M] in the same; by blocks, so that only one is copied whole."""
    num_latents = W_dec_MD.shape[0]
    operand_DM = W_enc_MD.to(dtype).T
    gram_MM = torch.empty(num_latents, operand_DM.shape[1], dtype=dtype)
    for first in range(0, num_latents, ROWS_AT_ONCE):
        last = first + ROWS_AT_ONCE
        torch.mm(W_dec_MD[first:last].to(dtype), operand_DM, out=gram_MM[first:last])
    return gram_MM


def reach_of(W_enc_MD: Tensor) -> Tensor:
    """`min(SIGMAS / √D, 1) · ‖W_enc[m]‖`, [M]: how far score m moves per unit of change of the residual.

    That is SIGMAS standard deviations for a change in a random direction; at 1 it holds for every direction.
    """
    norms_M: Tensor = torch.linalg.vector_norm(W_enc_MD, dim=1)
    return norms_M.mul_(min(SIGMAS / math.sqrt(W_enc_MD.shape[1]), 1.0))


def spread_of(W_enc_MD: Tensor, W_dec: Tensor) -> Tensor:
    """`D · mean_m ⟨W_enc[m], w⟩² / (mean_m ‖W_enc[m]‖² · ‖w‖²)` of each decoder row w, at least 1, [M].

    1 for directions unrelated to the encoder's; more where the dictionary crowds around some directions, so that
    subtracting one row moves many scores. The mean is over a sample; decoders for each step take the largest of one.
    """
    (num_latents, width), dtype = W_enc_MD.shape, operand_dtype()
    sample_SD = W_enc_MD[:: max(1, num_latents // SPREAD_SAMPLE)].to(dtype)
    moment_DD = (sample_SD.T @ sample_SD).float() * (width / sample_SD.float().pow(2).sum())
    rows = W_dec if W_dec.ndim == 2 else W_dec.view(-1, width)[:: max(1, W_dec.shape[0] * num_latents // SPREAD_SAMPLE)]
    spread = torch.empty(len(rows))
    for first in range(0, len(rows), ROWS_AT_ONCE):
        w_SD = rows[first : first + ROWS_AT_ONCE]
        along_S = ((w_SD.to(dtype) @ moment_DD.to(dtype)).float() * w_SD).sum(dim=1)
        square_S = w_SD.pow(2).sum(dim=1).clamp_min_(torch.finfo(torch.float32).tiny)
        spread[first : first + ROWS_AT_ONCE] = along_S / square_S
    spread = spread.nan_to_num_(1.0, posinf=1.0).clamp_(min=1.0)
    return spread if W_dec.ndim == 2 else spread.max().repeat(num_latents)


def _largest_bias(b_enc_M: Tensor | None) -> float:
    """Largest magnitude of a bias, those that forbid a latent aside."""
    return 0.0 if b_enc_M is None else float(torch.where(b_enc_M > NEVER / 10, b_enc_M, 0.0).abs().max())


def _largest_share(grain_M: Tensor | None, reach_M: Tensor) -> float:
    """Largest grain as a share of the same row's reach; a row of zeros has neither."""
    return 0.0 if grain_M is None else float(torch.where(reach_M > 0, grain_M / reach_M, 0.0).max())


class _Pursuit:
    """Arrays of one call, and the low-precision product that fills `scores_TM` for a set of tokens."""

    def __init__(
        self,
        x_BD: Tensor,
        W_enc_MD: Tensor,
        b_enc_M: Tensor | None,
        W_dec: Tensor | None,
        rules: Rules,
        dtype: torch.dtype,
    ) -> None:
        (tokens, width), num_latents = x_BD.shape, W_enc_MD.shape[0]
        self.residual_BD = x_BD.clone(memory_format=torch.contiguous_format)
        self.acts_BK = x_BD.new_empty(tokens, rules.k)
        self.indices_BK = torch.zeros(tokens, rules.k, dtype=torch.int64)
        self.steps_B = torch.zeros(tokens, dtype=torch.int64)
        self.slots = max(64, min(1024, SCORES_AT_ONCE // num_latents))
        self.operand = make_operand(W_enc_MD, dtype)
        self.scores_TM = torch.empty(min(self.slots, tokens), num_latents, dtype=self.operand.score_dtype)
        if b_enc_M is not None:
            b_enc_M = b_enc_M.clamp(min=NEVER)
        reach_M = reach_of(W_enc_MD)
        spread_M = None if W_dec is None else spread_of(W_enc_MD, W_dec)
        grain_M = self.operand.grain_M
        self.kept_alive = (reach_M, spread_M, W_enc_MD, b_enc_M, W_dec)
        at = native.pointer
        self.problem = native.Problem(
            W_enc=at(W_enc_MD), b_enc=at(b_enc_M), reach=at(reach_M), spread=at(spread_M), W_dec=at(W_dec),
            latent_grain=at(grain_M), residual=at(self.residual_BD), acts=at(self.acts_BK),
            indices=at(self.indices_BK), steps=at(self.steps_B), scores=at(self.scores_TM), M=num_latents, D=width,
            K=rules.k, kind=KINDS[dtype], repeats=rules.repeats, exact_bounds=width <= SIGMAS**2,
            decoder_stride=num_latents * width if W_dec is not None and W_dec.ndim == 3 else 0,
            shortlist_blocks=SHORTLIST_BLOCKS, threshold=rules.residual_threshold, rounding=ROUNDING[dtype],
            sigmas=SIGMAS, least_reach=float(reach_M.min()), largest_reach=float(reach_M.max()),
            largest_grain=0.0 if grain_M is None else float(grain_M.max()),
            largest_grain_share=_largest_share(grain_M, reach_M), largest_bias=_largest_bias(b_enc_M),
        )  # fmt: skip

    def run(self, function: str, tokens_T: Tensor) -> None:
        """Score `tokens_T` and call a function of the extension on them."""
        residual_TD = self.residual_BD.index_select(0, tokens_T)
        grain_T = self.operand.scores_of(residual_TD, self.scores_TM[: len(tokens_T)])
        self.problem.token_grain = native.pointer(grain_T)
        self.problem.tokens, self.problem.T = native.pointer(tokens_T), len(tokens_T)
        native.call(function, ctypes.byref(self.problem))


def select_by_update(
    r0_BD: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    W_dec_MD: Tensor,
    gram_MM: Tensor,
    rules: Rules,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations [B, k], indices [B, k] and last residual [B, D], scores kept up to date with rows of `gram_MM`."""
    pursuit = _Pursuit(r0_BD, W_enc_MD, b_enc_M, W_dec_MD, rules, dtype)
    pursuit.problem.gram = native.pointer(gram_MM)
    for tokens_T in torch.split(torch.arange(r0_BD.shape[0]), pursuit.slots):
        pursuit.run("pursue_all", tokens_T)
    return pursuit.acts_BK, pursuit.indices_BK, pursuit.residual_BD


def select_by_screening(
    r0_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, W_dec: Tensor, rules: Rules, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """The same with all M scores taken only now and then, and neither an M×M nor a B×M buffer.

    A score moves with the residual by `⟨W_enc[m], r − r'⟩`, typically `‖W_enc[m]‖·‖r − r'‖ / √D`. A shortlist is made
    from the scores of all latents; the pursuit goes on within it, scoring only latents whose last known score plus
    SIGMAS times that movement reaches the best one, until a latent outside could have become the best by the same
    rule. Then the token waits for its next turn at the product. Working sets with screening rules are this for the
    lasso (Tibshirani et al. 2012), lazy evaluation for greedy selection (Minoux 1978).
    """
    pursuit = _Pursuit(r0_BD, W_enc_MD, b_enc_M, W_dec, rules, dtype)
    tokens, begun = r0_BD.shape[0], 0
    active_T = torch.arange(0)
    while begun < tokens or len(active_T):
        fresh = min(pursuit.slots - len(active_T), tokens - begun)
        active_T = torch.cat([active_T, torch.arange(begun, begun + fresh)])
        begun += fresh
        pursuit.run("pursue_round", active_T)
        active_T = active_T[pursuit.steps_B[active_T] < rules.k]
    return pursuit.acts_BK, pursuit.indices_BK, pursuit.residual_BD


def topk_select(
    x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, k: int, operands: torch.dtype | None
) -> tuple[Tensor, Tensor]:
    """The k best latents of each token by exact score, rectified and descending: acts [B, k], indices [B, k]."""
    pursuit = _Pursuit(x_BD, W_enc_MD, b_enc_M, None, Rules(k=k), operands or operand_dtype())
    for tokens_T in torch.split(torch.arange(x_BD.shape[0]), pursuit.slots):
        pursuit.run("topk_round", tokens_T)
    return pursuit.acts_BK, pursuit.indices_BK
