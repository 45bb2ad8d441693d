"""Matching pursuit and TopK through the compiled extension: candidates from low-precision products, float32 decides.

Scores of all latents come from one matrix product per chunk of tokens, in bfloat16 or int8 where the processor
multiplies them faster. They are only good enough to say which latents can be the best; those are scored again as
float32 dot products with the float32 residual, which also gives the activation. csrc does that for a token; this file
feeds it.
"""

import ctypes
import functools
import math

import torch
from torch import Tensor

from kernels.cpu import native
from kernels.cpu.operands import KINDS, ROWS_AT_ONCE, Operand, has_outliers, make_operand, operand_dtype
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
OPPOSED_SAMPLE, OPPOSED_SHARE = (16, 512), 0.01
"""Decoder rows of which it is found out how far single scores rise when they are subtracted, between these as many as
there are tokens, and the share of rows that may raise a score further than screening allows for."""
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
        self.reach_M = reach_of(W_enc_MD)
        self.spread_M = None if W_dec is None else spread_of(W_enc_MD, W_dec)
        self.W_enc_MD, self.b_enc_M, self.W_dec = W_enc_MD, b_enc_M, W_dec
        grain_M = self.operand.grain_M
        at = native.pointer
        self.problem = native.Problem(
            W_enc=at(W_enc_MD), b_enc=at(b_enc_M), reach=at(self.reach_M), spread=at(self.spread_M), W_dec=at(W_dec),
            latent_grain=at(grain_M), residual=at(self.residual_BD), acts=at(self.acts_BK),
            indices=at(self.indices_BK), steps=at(self.steps_B), M=num_latents, D=width,
            K=rules.k, repeats=rules.repeats, exact_bounds=width <= SIGMAS**2,
            decoder_stride=num_latents * width if W_dec is not None and W_dec.ndim == 3 else 0,
            shortlist_blocks=SHORTLIST_BLOCKS, threshold=rules.residual_threshold,
            sigmas=SIGMAS, least_reach=float(self.reach_M.min()), largest_reach=float(self.reach_M.max()),
            largest_grain=0.0 if grain_M is None else float(grain_M.max()),
            largest_grain_share=_largest_share(grain_M, self.reach_M), largest_bias=_largest_bias(b_enc_M),
        )  # fmt: skip

    @functools.cached_property
    def finer(self) -> Operand:
        """For tokens that int8 is too coarse for."""
        return make_operand(self.W_enc_MD, operand_dtype())

    def run(self, function: str, tokens_T: Tensor) -> None:
        """Score `tokens_T` and call a function of the extension on them."""
        residual_TD = self.residual_BD.index_select(0, tokens_T)
        if self.operand.grain_M is not None and bool((coarse_T := has_outliers(residual_TD)).any()):
            self._run(function, tokens_T[coarse_T], residual_TD[coarse_T], self.finer)
            tokens_T, residual_TD = tokens_T[~coarse_T], residual_TD[~coarse_T]
        self._run(function, tokens_T, residual_TD, self.operand)

    def _run(self, function: str, tokens_T: Tensor, residual_TD: Tensor, operand: Operand) -> None:
        scores_TM = self._scores(operand, len(tokens_T))
        grain_T, dtype, problem = operand.scores_of(residual_TD, scores_TM), operand.rows_MD.dtype, self.problem
        problem.scores, problem.kind = native.pointer(scores_TM), KINDS[dtype]
        problem.token_grain, problem.rounding = native.pointer(grain_T), ROUNDING[dtype]
        problem.tokens, problem.T = native.pointer(tokens_T), len(tokens_T)
        native.call(function, ctypes.byref(problem))

    def _scores(self, operand: Operand, tokens: int) -> Tensor:
        """Room for scores of an operand that takes no more of it than `self.operand`."""
        if operand is self.operand:
            return self.scores_TM[:tokens]
        num_latents = self.scores_TM.shape[1]
        return self.scores_TM.view(-1).view(operand.score_dtype)[: tokens * num_latents].view(tokens, num_latents)

    def expect_opposed_rows(self) -> None:
        """Raise `spread_M` to what single scores do where decoder rows are subtracted that latents are opposed to.

        `spread_of` is a mean over the encoder and does not see one latent among thousands. A dictionary of random
        directions has no more of them than `reach_of` covers, and stays as it is.
        """
        spread_M, rows = self.spread_M, self.W_dec
        if spread_M is None or rows is None or self.problem.exact_bounds or not len(self.acts_BK):
            return
        rows = rows.view(-1, rows.shape[-1])
        fewest, most = OPPOSED_SAMPLE
        rows = rows[:: -(-len(rows) // max(fewest, min(most, len(self.acts_BK))))]
        norm_S = torch.linalg.vector_norm(rows, dim=1).clamp_min_(torch.finfo(torch.float32).tiny)
        rise_S = torch.cat([self._rises(part) for part in torch.split(rows, min(64, len(self.scores_TM)))]) / norm_S
        rise, num_latents = float(rise_S.nan_to_num_(0.0).quantile(1 - OPPOSED_SHARE)), self.scores_TM.shape[1]
        if rise * SIGMAS > 1.1 * _largest_by_chance(num_latents):
            spread_M.clamp_(min=rise**2)

    def _rises(self, rows_SD: Tensor) -> Tensor:
        """Largest rise of any score when each of `rows_SD` is subtracted, as a multiple of the latent's reach, [S]."""
        scores_SM = self.scores_TM[: len(rows_SD)]
        grain_S = self.operand.scores_of(rows_SD.contiguous(), scores_SM)
        unit_M = self.reach_M.clamp(min=torch.finfo(torch.float32).tiny).reciprocal_()
        if self.operand.grain_M is not None:
            unit_M *= self.operand.grain_M
        rise_S: Tensor = (scores_SM * unit_M).amin(dim=1).neg_()
        return rise_S if grain_S is None else rise_S * grain_S


def _largest_by_chance(num_latents: int) -> float:
    """What the largest of `num_latents` normal numbers exceeds in OPPOSED_SHARE of cases."""
    return math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * OPPOSED_SHARE / num_latents, dtype=torch.float64)))


def select_by_update(
    r0_BD: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    W_dec_MD: Tensor,
    gram_MM: Tensor,
    rules: Rules,
    dtype: torch.dtype,
    excluded_B: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations [B, k], indices [B, k] and last residual [B, D], scores kept up to date with rows of `gram_MM`."""
    pursuit = _Pursuit(r0_BD, W_enc_MD, b_enc_M, W_dec_MD, rules, dtype)
    pursuit.problem.gram, pursuit.problem.excluded = native.pointer(gram_MM), native.pointer(excluded_B)
    for tokens_T in torch.split(torch.arange(r0_BD.shape[0]), pursuit.slots):
        pursuit.run("pursue_all", tokens_T)
    return pursuit.acts_BK, pursuit.indices_BK, pursuit.residual_BD


def select_by_screening(
    r0_BD: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    W_dec: Tensor,
    rules: Rules,
    dtype: torch.dtype,
    excluded_B: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same with all M scores taken only now and then, and neither an M×M nor a B×M buffer.

    A score moves with the residual by `⟨W_enc[m], r − r'⟩`, typically `‖W_enc[m]‖·‖r − r'‖ / √D`. A shortlist is made
    from the scores of all latents; the pursuit goes on within it, scoring only latents whose last known score plus
    SIGMAS times that movement reaches the best one, until a latent outside could have become the best by the same
    rule. Then the token waits for its next turn at the product. Working sets with screening rules are this for the
    lasso (Tibshirani et al. 2012), lazy evaluation for greedy selection (Minoux 1978).
    """
    if dtype == torch.int8 and bool(has_outliers(W_enc_MD).any()):
        dtype = operand_dtype()
    pursuit = _Pursuit(r0_BD, W_enc_MD, b_enc_M, W_dec, rules, dtype)
    pursuit.problem.excluded = native.pointer(excluded_B)
    pursuit.expect_opposed_rows()
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
