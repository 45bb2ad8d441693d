"""Matching pursuit, recompute form (Mallat & Zhang 1993): every step multiplies `W_enc` with the residual; one launch.

A program keeps BLOCK_B tokens through all K steps, since tokens are independent. A step streams copies of W_enc and of
its residual rows, in 16 bits and L2, through the matrix units (`mp_sweep`), re-scores each token's CANDIDATES best as
`⟨W_enc[j], r⟩ + b` in fp32, which gives the choice and the activation, and subtracts in fp32. No score is ever written.
2·K·M·D flops per token; per step and program 2·M·D bytes of W_enc from L2 and (8 + 4·CANDIDATES)·D bytes per token.

Slices: step i sweeps only slice i. Per-step decoders: step i subtracts from decoder i.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.common import FORBIDDEN, ROUNDING, capability, multiprocessors
from kernels.gpu.mp_sweep import CANDIDATES, candidates, sweep
from kernels.rules import Rules

SWEEP_GROUPS = 64
"""Groups of a sweep, at least, where it can have them: the two closest latents then share one in 1 of 64 cases."""
MOST_GROUPS = 4
"""To a tile, for what registers hold of lists; then each group's second best enters too."""
MAX_REGISTERS = 255
"""Per thread, said at the launch: left alone, the assembler may spill to leave room for a second program."""
FEW_TOKENS = 64 * 132
"""With no more than these, 128 tokens to a program would leave multiprocessors without one."""
WIDE = (9, 10)
"""Major compute capabilities whose matrix units take operands from shared memory, of which there are 227 KiB. Elsewhere
128×256 scores do not fit beside operands in registers."""


@dataclass(frozen=True)
class RecomputeConfig:
    """Tile sizes of one program."""

    block_b: int
    block_m: int
    block_k: int
    block_d: int
    groups: int
    ranks: int
    num_warps: int
    num_stages: int


def recompute_config(
    tokens: int, num_latents: int, rules: Rules, operands: torch.dtype, capability: int
) -> RecomputeConfig:
    """Tiles of 128×256, the widest that registers hold, read the fewest bytes per flop; narrower where they must be.

    Only the best of a group of columns becomes a candidate: with few latents tiles are narrow, of several groups.
    """
    swept = num_latents // rules.k if rules.sliced else num_latents
    block_m = 128 if rules.sliced or swept < 256 * SWEEP_GROUPS else 256
    if operands == torch.float32:
        block_m = 64
    groups = min(triton.next_power_of_2(triton.cdiv(SWEEP_GROUPS, triton.cdiv(swept, block_m))), MOST_GROUPS)
    ranks = {1: 4, 2: 3}.get(groups, 2)
    if operands == torch.float32:
        return RecomputeConfig(64, block_m, 32, 32, groups, ranks, 4, 2)
    block_b = 128 if capability in WIDE and tokens > FEW_TOKENS else 64
    return RecomputeConfig(block_b, block_m, 64, 16, groups, ranks, 8, 3)


@triton.jit
def _choose(scores, latents, margin, residual, inside, W_enc, b_enc, D, BLOCK_D: tl.constexpr):
    """Latent and fp32 score of the best candidate of each token, among those within `margin` of the first."""
    row = tl.arange(0, margin.shape[0])
    close, sums = (), ()
    for c in tl.static_range(CANDIDATES):
        close += ((scores[c] >= scores[0] - margin) & (scores[c] > 0.5 * FORBIDDEN) if c > 0 else inside,)
        sums += (tl.zeros(margin.shape, tl.float32),)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        r = tl.load(residual + row[:, None] * D + d[None, :], mask=inside[:, None] & (d < D)[None, :], other=0.0)
        new_sums = ()
        for c in tl.static_range(CANDIDATES):
            rows = W_enc + latents[c].to(tl.int64)[:, None] * D + d[None, :]
            w = tl.load(rows, mask=close[c][:, None] & (d < D)[None, :], other=0.0)
            new_sums += (sums[c] + tl.sum(w * r, axis=1),)
        sums = new_sums
    latent = latents[0]
    act = tl.full(margin.shape, FORBIDDEN, tl.float32)
    for c in tl.static_range(CANDIDATES):
        score = sums[c]
        if b_enc is not None:
            score += tl.load(b_enc + latents[c], mask=close[c], other=0.0)
        better = close[c] & ((score > act) | ((score == act) & (latents[c] < latent)))
        act = tl.where(better, score, act)
        latent = tl.where(better, latents[c], latent)
    return latent, act


@triton.jit
def _subtract(residual, operands, inside, decoder_rows, act, D, DP, BLOCK_D: tl.constexpr):
    """`r ← r − act · decoder row` in fp32, and its copy as an operand; returns ‖r‖². Without rows only copies."""
    row = tl.arange(0, act.shape[0])[:, None]
    squares = tl.zeros(act.shape, tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        mask = inside[:, None] & (d < D)[None, :]
        r = tl.load(residual + row * D + d[None, :], mask=mask, other=0.0)
        if decoder_rows is not None:
            moved = mask & (act != 0.0)[:, None]
            r -= act[:, None] * tl.load(decoder_rows[:, None] + d[None, :], mask=moved, other=0.0)
            tl.store(residual + row * D + d[None, :], r, mask=moved)
        # Padding columns of the copy are zero and stay so.
        tl.store(operands + row * DP + d[None, :], r.to(operands.dtype.element_ty), mask=mask)
        squares += tl.sum(r * r, axis=1)
    return squares


@triton.jit
def _recompute_kernel(
    residual, operands, W_operands, bits, excluded, W_enc, b_enc, W_dec, error_scale, acts, indices,
    B, M, D, WORDS, K, threshold_squared, DP: tl.constexpr,
    BLOCK_B: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    GROUPS: tl.constexpr, RANKS: tl.constexpr, RUNNERS_UP: tl.constexpr,
    MASKED: tl.constexpr, SLICED: tl.constexpr, PER_STEP: tl.constexpr, STOPS: tl.constexpr, IEEE: tl.constexpr,
):  # fmt: skip
    """All K steps of BLOCK_B tokens after BLOCK_B others; `residual` holds r_0 and ends as r_K."""
    program = tl.program_id(0).to(tl.int64)
    row = tl.arange(0, BLOCK_B)
    operands += program * BLOCK_B * DP
    bits += program * BLOCK_B * WORDS
    for start in tl.range(tl.program_id(0) * BLOCK_B, B, tl.num_programs(0) * BLOCK_B, disable_licm=True):
        inside = start + row < B
        own_residual = residual + tl.cast(start, tl.int64) * D
        if MASKED:
            for begin in range(0, BLOCK_B * WORDS, 1024):
                word = begin + tl.arange(0, 1024)
                tl.store(bits + word, 0, mask=word < BLOCK_B * WORDS)
            if excluded is not None:
                tl.debug_barrier()  # other threads wrote the zeros
                barred = tl.load(excluded + start + row, mask=inside, other=0).to(tl.int32)
                there = (barred >= 0) & (barred < M)
                tl.store(
                    bits + row * WORDS + barred // 32, tl.full([BLOCK_B], 1, tl.int32) << (barred % 32), mask=there
                )
        squares = _subtract(own_residual, operands, inside, None, tl.zeros([BLOCK_B], tl.float32), D, DP, BLOCK_D)
        running = True
        for step in tl.range(K, disable_licm=True):
            if running:
                # What this program keeps in memory was written by other threads of it.
                tl.debug_barrier()
                first = step * M // K if SLICED else 0
                last = (step + 1) * M // K if SLICED else M
                keys, tiles = sweep(
                    operands, W_operands, b_enc, bits, WORDS, first, last, DP,
                    BLOCK_B, BLOCK_M, BLOCK_K, GROUPS, RANKS, RUNNERS_UP, MASKED, IEEE,
                )  # fmt: skip
                scores, latents = candidates(keys, tiles, last, BLOCK_M, RANKS, GROUPS)
                margin = tl.load(error_scale) * tl.sqrt(squares)
                latent, act = _choose(scores, latents, margin, own_residual, inside, W_enc, b_enc, D, BLOCK_D)
                act = tl.maximum(act, 0.0)
                if STOPS:
                    act = tl.where(squares > threshold_squared, act, 0.0)
                at = (start + row).to(tl.int64) * K + step
                tl.store(acts + at, act, mask=inside)
                tl.store(indices + at, latent.to(tl.int64), mask=inside)
                if MASKED:
                    bits_at = bits + row * WORDS + latent // 32
                    tl.store(bits_at, tl.load(bits_at) | (tl.full([BLOCK_B], 1, tl.int32) << (latent % 32)))
                decoder_row = latent.to(tl.int64)
                if PER_STEP:
                    decoder_row += tl.cast(step, tl.int64) * M
                squares = _subtract(own_residual, operands, inside, W_dec + decoder_row * D, act, D, DP, BLOCK_D)
                if not SLICED:
                    running = tl.max(tl.where(inside, act, 0.0)) > 0.0
        tl.debug_barrier()


def constants(
    config: RecomputeConfig, width: int, rules: Rules, operands: torch.dtype, per_step: bool
) -> dict[str, int | bool]:
    """The kernel's constexpr arguments."""
    return {
        "DP": triton.cdiv(width, config.block_k) * config.block_k,
        "BLOCK_B": config.block_b, "BLOCK_M": config.block_m, "BLOCK_K": config.block_k, "BLOCK_D": config.block_d,
        "GROUPS": config.groups, "RANKS": config.ranks, "RUNNERS_UP": config.groups == MOST_GROUPS,
        "MASKED": not (rules.repeats or rules.sliced), "SLICED": rules.sliced, "PER_STEP": per_step,
        "STOPS": rules.residual_threshold > 0, "IEEE": operands == torch.float32,
    }  # fmt: skip


def _padded(x: Tensor, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    out = torch.zeros(rows, columns, dtype=dtype, device=x.device)
    out[: x.shape[0], : x.shape[1]] = x
    return out


def _first_latents(rules: Rules, num_latents: int, device: torch.device) -> Tensor:
    """Where each step's choice begins, [K], for steps that are not taken; made on the device, so that nothing waits."""
    steps_K = torch.arange(rules.k, device=device)
    return steps_K * num_latents // rules.k if rules.sliced else torch.zeros_like(steps_K)


def select_by_recompute(
    r0_BD: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    W_dec: Tensor,
    rules: Rules,
    operands: torch.dtype,
    excluded_B: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations [B, K], indices [B, K] and residual [B, D] by a product in `operands` with the residual each step."""
    tokens, (num_latents, width) = r0_BD.shape[0], W_enc_MD.shape
    config = recompute_config(tokens, num_latents, rules, operands, capability(r0_BD))
    # Triton's interpreter does not multiply bfloat16: there float32 holds the rounded rows.
    stored = torch.float32 if operands == torch.bfloat16 and not r0_BD.is_cuda else operands
    constexprs = constants(config, width, rules, operands, per_step=W_dec.ndim == 3)
    # A tile that begins inside a slice may reach beyond the last latent by less than its width.
    padded_latents = (triton.cdiv(num_latents, config.block_m) + rules.sliced) * config.block_m
    programs = min(triton.cdiv(tokens, config.block_b), multiprocessors(r0_BD))
    W_operands = _padded(W_enc_MD.to(operands), padded_latents, constexprs["DP"], stored)
    own_rows = r0_BD.new_zeros(programs * config.block_b, constexprs["DP"], dtype=stored)
    words = padded_latents // 32
    bits = torch.empty(own_rows.shape[0] * words if constexprs["MASKED"] else 1, dtype=torch.int32, device=r0_BD.device)
    error_scale = 2 * ROUNDING[operands] * torch.linalg.vector_norm(W_enc_MD, dim=1).amax()
    acts_BK = r0_BD.new_zeros(tokens, rules.k)
    indices_BK = _first_latents(rules, num_latents, r0_BD.device).repeat(tokens, 1)
    residual_BD = r0_BD.clone()
    _recompute_kernel[(programs,)](
        residual_BD, own_rows, W_operands, bits, excluded_B, W_enc_MD, b_enc_M, W_dec, error_scale, acts_BK, indices_BK,
        tokens, num_latents, width, words, rules.k, rules.residual_threshold**2,
        **constexprs, num_warps=config.num_warps, num_stages=config.num_stages, maxnreg=MAX_REGISTERS,
    )  # fmt: skip
    return acts_BK, indices_BK, residual_BD
