"""Matching pursuit, update form (Mallat & Zhang 1993): with `H = W_dec W_encᵀ` the scores obey `s ← s − a·H[j]`.

One program per token. Its M scores are fp32 and stay on chip for all K steps, as a tuple of register tiles, while
M ≤ 36,864; above that they stay in memory, in the row that the first product wrote, which L2 holds for
the programs that run. A step reads one row of H (2·M bytes) and three rows of width D. Per token: 2·M·D flops and 8·M
bytes for the first scores, then K·(2·M + 12·D) bytes, and 8·K·M more through L2 where the scores are in memory.

The choice. H is in fp16, so updated scores carry its rounding error. Every lane keeps the best of its scores, marked
with its tile; lanes within a margin of the best are re-scored as `⟨W_enc[j], r⟩ + b` with the fp32 residual, CANDIDATES
at most, and the fp32 score is the activation. H's row is asked for as soon as the latent is chosen, before its
activation is known.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.common import FORBIDDEN, mark, marked_place, multiprocessors
from kernels.gpu.first_scores import error_scale_of, first_scores
from kernels.rules import Rules

ON_CHIP_TILES = {2: 9, 4: 6}
"""Tiles of 8 scores per thread, by bytes of a number of H: nine fill 72 of the 128 registers that a thread has when 16
warps fill a multiprocessor, and what is in flight of H's row needs most of the rest."""
MAX_REGISTERS = 128
"""Per thread: 16 warps to a multiprocessor, which hold 36,864 scores between them."""
CANDIDATES = tl.constexpr(8)
SCORES_BYTES = 512 << 20
"""Of first scores in memory at once; tokens are handled in chunks of as many as fit."""


@dataclass(frozen=True)
class UpdateConfig:
    """How a program holds one token."""

    tiles: int
    tile: int
    block_d: int
    ahead: int
    """Tiles of H's row in flight: as many as 128 registers have room for."""
    on_chip: bool
    num_warps: int


def update_config(num_latents: int, width: int, gram_dtype: torch.dtype) -> UpdateConfig:
    """Fewest warps whose registers hold the scores, so that as many tokens as can be share a multiprocessor."""
    warps = next((w for w in (4, 8, 16) if num_latents <= ON_CHIP_TILES[gram_dtype.itemsize] * 256 * w), 0)
    on_chip = warps > 0
    warps = max(warps or 16, triton.next_power_of_2(triton.cdiv(width, 512)))
    tile = 256 * warps
    tiles = triton.cdiv(num_latents, tile)
    ahead = 3 if on_chip else 4
    if not on_chip:
        tiles = triton.cdiv(tiles, ahead) * ahead
    block_d = min(triton.next_power_of_2(width), tile // 2 if tiles <= 4 else tile // 4)
    return UpdateConfig(tiles, tile, block_d, ahead, on_chip, warps)


@triton.jit
def _load_tile(row, t, M, other, TILE: tl.constexpr, LAST: tl.constexpr):
    at = t * TILE + tl.arange(0, TILE)
    if LAST:
        return tl.load(row + at, mask=at < M, other=other)
    else:
        return tl.load(row + at)


@triton.jit
def _load_block(row, start, D, BLOCK_D: tl.constexpr):
    d = start + tl.arange(0, BLOCK_D)
    return tl.load(row + d, mask=d < D, other=0.0)


@triton.jit
def _exact_score(latent, W_enc, b_enc, residual_row, D, BLOCK_D: tl.constexpr):
    """`⟨W_enc[latent], r⟩ + b_enc[latent]`."""
    row = W_enc + latent.to(tl.int64) * D
    products = _load_block(row, 0, D, BLOCK_D) * _load_block(residual_row, 0, D, BLOCK_D)
    for start in range(BLOCK_D, D, BLOCK_D):
        products += _load_block(row, start, D, BLOCK_D) * _load_block(residual_row, start, D, BLOCK_D)
    score = tl.sum(products)
    if b_enc is not None:
        score += tl.load(b_enc + latent)
    return score


@triton.jit
def _choose(best, margin, W_enc, b_enc, residual_row, M, D, BLOCK_D: tl.constexpr, PLACES: tl.constexpr):
    """The latent with the best fp32 score among those whose updated score is within `margin` of the best."""
    TILE: tl.constexpr = best.shape[0]
    lanes = tl.arange(0, TILE)
    top, lane = tl.max(best, axis=0, return_indices=True)
    latent = tl.minimum(marked_place(top, PLACES) * TILE + lane, M - 1)  # beyond only if scores are NaN
    close = tl.sum((best >= top - margin).to(tl.int32))
    if close > 1:
        score = _exact_score(latent, W_enc, b_enc, residual_row, D, BLOCK_D)
        for _ in range(1, tl.minimum(close, CANDIDATES)):
            best = tl.where(lanes == lane, FORBIDDEN, best)
            top, lane = tl.max(best, axis=0, return_indices=True)
            other = tl.minimum(marked_place(top, PLACES) * TILE + lane, M - 1)
            other_score = _exact_score(other, W_enc, b_enc, residual_row, D, BLOCK_D)
            if (other_score > score) | ((other_score == score) & (other < latent)):
                latent = other
                score = other_score
    return latent


@triton.jit
def _squared_norm(row, D, BLOCK_D: tl.constexpr):
    squares = tl.zeros([BLOCK_D], tl.float32)
    for start in range(0, D, BLOCK_D):
        r = _load_block(row, start, D, BLOCK_D)
        squares += r * r
    return tl.sum(squares)


@triton.jit
def _subtract_block(residual_row, start, act, decoder_block, D, BLOCK_D: tl.constexpr):
    d = start + tl.arange(0, BLOCK_D)
    r = tl.load(residual_row + d, mask=d < D, other=0.0) - act * decoder_block
    tl.store(residual_row + d, r, mask=d < D)
    return r * r


@triton.jit
def _subtract(residual_row, decoder_row, first_block, act, D, BLOCK_D: tl.constexpr):
    """`r ← r − act · decoder_row` in memory, given the first block of that row; returns ‖r‖²."""
    squares = _subtract_block(residual_row, 0, act, first_block, D, BLOCK_D)
    for start in range(BLOCK_D, D, BLOCK_D):
        block = _load_block(decoder_row, start, D, BLOCK_D)
        squares += _subtract_block(residual_row, start, act, block, D, BLOCK_D)
    # The next reader of the row may be another thread.
    tl.debug_barrier()
    return tl.sum(squares)


@triton.jit(do_not_specialize=["repeats"])
def _update_on_chip(
    scores, gram, W_enc, b_enc, W_dec, error_scale, acts, indices, residual, M, D, K, threshold_squared, repeats,
    TILES: tl.constexpr, TILE: tl.constexpr, BLOCK_D: tl.constexpr, AHEAD: tl.constexpr, STOPS: tl.constexpr,
):  # fmt: skip
    """All K steps of one token, its scores in TILES register tiles."""
    PLACES: tl.constexpr = triton.next_power_of_2(TILES)
    token = tl.program_id(0).to(tl.int64)
    residual_row = residual + token * D
    lanes = tl.arange(0, TILE)
    tiles = ()
    for t in tl.static_range(TILES):
        tiles += (_load_tile(scores + token * M, t, M, FORBIDDEN, TILE, t == TILES - 1),)
    energy = _squared_norm(residual_row, D, BLOCK_D)
    step = 0
    running = energy > threshold_squared if STOPS else True
    while running:
        best = tl.full([TILE], FORBIDDEN, tl.float32)
        for t in tl.static_range(TILES):
            best = tl.maximum(best, mark(tiles[t], t, PLACES))
        latent = _choose(
            best, tl.load(error_scale) * tl.sqrt(energy), W_enc, b_enc, residual_row, M, D, BLOCK_D, PLACES
        )
        tl.store(indices + token * K + step, latent.to(tl.int64))
        gram_row = gram + latent.to(tl.int64) * M
        forbidden = tl.where(repeats != 0, -1, latent)
        rows = ()
        for t in tl.static_range(min(AHEAD, TILES)):
            rows += (_load_tile(gram_row, t, M, 0.0, TILE, t == TILES - 1),)
        decoder_row = W_dec + latent.to(tl.int64) * D
        decoder_block = _load_block(decoder_row, 0, D, BLOCK_D)
        act = tl.maximum(_exact_score(latent, W_enc, b_enc, residual_row, D, BLOCK_D), 0.0)
        tl.store(acts + token * K + step, act)
        updated = ()
        for t in tl.static_range(TILES):
            if t + AHEAD < TILES:
                rows += (_load_tile(gram_row, t + AHEAD, M, 0.0, TILE, t + AHEAD == TILES - 1),)
            tile = tiles[t] - act * rows[t].to(tl.float32)
            tile = tl.where(lanes == forbidden - t * TILE, FORBIDDEN, tile)
            updated += (tile,)
        norm_squared = _subtract(residual_row, decoder_row, decoder_block, act, D, BLOCK_D)
        energy += act * act * tl.load(error_scale + 1)
        tiles = updated
        step += 1
        running = (step < K) & (act > 0.0)
        if STOPS:
            running &= norm_squared > threshold_squared


@triton.jit
def _sweep_memory(
    scores_row, gram_row, forbidden, act, M,
    TILES: tl.constexpr, TILE: tl.constexpr, FIRST: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """Updates a row of scores in memory, except on the FIRST sweep; returns each lane's best, marked with its tile."""
    PLACES: tl.constexpr = triton.next_power_of_2(TILES)
    lanes = tl.arange(0, TILE)
    best = tl.full([TILE], FORBIDDEN, tl.float32)
    for group in range(0, TILES, UNROLL):
        tiles, rows = (), ()
        for u in tl.static_range(UNROLL):
            tiles += (_load_tile(scores_row, group + u, M, FORBIDDEN, TILE, True),)
            if not FIRST:
                # Four numbers to a thread, as of the fp32 scores: otherwise each tile changes layout on its way back.
                at = tl.max_contiguous((group + u) * TILE + lanes, 4)
                rows += (tl.load(gram_row + at, mask=at < M, other=0.0),)
        for u in tl.static_range(UNROLL):
            tile = tiles[u]
            if not FIRST:
                at = (group + u) * TILE + lanes
                tile -= act * rows[u].to(tl.float32)
                tile = tl.where(at == forbidden, FORBIDDEN, tile)
                tl.store(scores_row + at, tile, mask=at < M)
            best = tl.maximum(best, mark(tile, group + u, PLACES))
    return best


@triton.jit(do_not_specialize=["repeats"])
def _update_in_memory(
    scores, gram, W_enc, b_enc, W_dec, error_scale, acts, indices, residual, M, D, K, threshold_squared, repeats,
    TILES: tl.constexpr, TILE: tl.constexpr, BLOCK_D: tl.constexpr, AHEAD: tl.constexpr, STOPS: tl.constexpr,
):  # fmt: skip
    """All K steps of one token, its scores in the row of `scores` that the first product wrote."""
    PLACES: tl.constexpr = triton.next_power_of_2(TILES)
    token = tl.program_id(0).to(tl.int64)
    residual_row = residual + token * D
    scores_row = scores + token * M
    energy = _squared_norm(residual_row, D, BLOCK_D)
    best = _sweep_memory(scores_row, gram, -1, 0.0, M, TILES, TILE, True, AHEAD)
    step = 0
    running = energy > threshold_squared if STOPS else True
    while running:
        latent = _choose(
            best, tl.load(error_scale) * tl.sqrt(energy), W_enc, b_enc, residual_row, M, D, BLOCK_D, PLACES
        )
        tl.store(indices + token * K + step, latent.to(tl.int64))
        act = tl.maximum(_exact_score(latent, W_enc, b_enc, residual_row, D, BLOCK_D), 0.0)
        tl.store(acts + token * K + step, act)
        decoder_row = W_dec + latent.to(tl.int64) * D
        decoder_block = _load_block(decoder_row, 0, D, BLOCK_D)
        norm_squared = _subtract(residual_row, decoder_row, decoder_block, act, D, BLOCK_D)
        energy += act * act * tl.load(error_scale + 1)
        gram_row = gram + latent.to(tl.int64) * M
        forbidden = tl.where(repeats != 0, -1, latent)
        best = _sweep_memory(scores_row, gram_row, forbidden, act, M, TILES, TILE, False, AHEAD)
        step += 1
        running = (step < K) & (act > 0.0)
        if STOPS:
            running &= norm_squared > threshold_squared


def select_by_update(
    r0_BD: Tensor,
    W_enc_MD: Tensor,
    b_enc_M: Tensor | None,
    W_dec_MD: Tensor,
    gram_MM: Tensor,
    rules: Rules,
    excluded_B: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations [B, K], indices [B, K] and residual [B, D] by updating scores with rows of `gram_MM`, which is H."""
    tokens, (num_latents, width) = r0_BD.shape[0], W_enc_MD.shape
    config = update_config(num_latents, width, gram_MM.dtype)
    acts_BK = r0_BD.new_zeros(tokens, rules.k)
    indices_BK = torch.zeros(tokens, rules.k, dtype=torch.int64, device=r0_BD.device)
    residual_BD = r0_BD.clone()
    error_scale = error_scale_of(W_enc_MD, W_dec_MD, gram_MM.dtype)
    wave = multiprocessors(r0_BD) * (16 // config.num_warps)
    chunk = max(SCORES_BYTES // (4 * num_latents) // wave, 1) * wave
    for start in range(0, tokens, chunk):
        rows = slice(start, start + chunk)
        first = first_scores(r0_BD[rows], W_enc_MD, b_enc_M, gram_MM.dtype)
        if excluded_B is not None:
            first.scatter_(1, excluded_B[rows, None], FORBIDDEN.value)
        kernel = _update_on_chip if config.on_chip else _update_in_memory
        kernel[(first.shape[0],)](
            first, gram_MM, W_enc_MD, b_enc_M, W_dec_MD, error_scale, acts_BK[rows], indices_BK[rows],
            residual_BD[rows], num_latents, width, rules.k, rules.residual_threshold**2, int(rules.repeats),
            TILES=config.tiles, TILE=config.tile, BLOCK_D=config.block_d, AHEAD=config.ahead,
            STOPS=rules.residual_threshold > 0, num_warps=config.num_warps, maxnreg=MAX_REGISTERS,
        )  # fmt: skip
    return acts_BK, indices_BK, residual_BD
