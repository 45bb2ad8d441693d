"""Row-wise building blocks in Triton: the two halves of a sparse decode, and the weight gradient they share.

N = B·K is the number of pairs of a token and a latent. No buffer is B×K×D: each pair's row is read where it is used.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

GROUP = 8
"""Rows that one program reads at a time, so that a thread has several independent 16-byte loads under way."""
SEGMENT_PROGRAMS = 32768
"""Pieces times column blocks to cut long segments into: tens of waves on any GPU, and at most 2 · 32768 · 512 partial
sums (128 MiB)."""


@dataclass(frozen=True)
class RowsConfig:
    """How programs divide a row of width D."""

    block_d: int
    num_warps: int

    def blocks(self, width: int) -> int:
        """Programs side by side along a row."""
        return -(-width // self.block_d)


def rows_config(width: int) -> RowsConfig:
    """The widest block of at most 512 columns that leaves no more than an eighth of them idle; four for each thread."""
    for block in (512, 256):
        if triton.cdiv(width, block) * block * 7 <= width * 8:
            return RowsConfig(block, block // 128)
    return RowsConfig(max(16, min(128, triton.next_power_of_2(width))), 1)


@triton.jit
def _weighted_rows_kernel(values, indices, weight, out, K, D, GROUP: tl.constexpr, BLOCK_D: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    total = tl.zeros([BLOCK_D], tl.float32)
    for start in range(0, K, GROUP):
        i = start + tl.arange(0, GROUP)
        value = tl.load(values + token * K + i, mask=i < K, other=0.0)
        index = tl.load(indices + token * K + i, mask=i < K, other=0)
        mask = (value != 0)[:, None] & (column < D)[None, :]
        row = tl.load(weight + index[:, None] * D + column[None, :], mask=mask, other=0.0)
        total += tl.sum(value[:, None] * row, axis=0)
    tl.store(out + token * D + column, total, mask=column < D)


def weighted_rows(values_BK: Tensor, indices_BK: Tensor, weight_MD: Tensor) -> Tensor:
    """`Σ_i values[b, i] · weight[indices[b, i]]`, [B, D]. Rows whose value is 0 are not read."""
    (tokens, k), width = values_BK.shape, weight_MD.shape[1]
    config = rows_config(width)
    out_BD = weight_MD.new_empty(tokens, width)
    _weighted_rows_kernel[(tokens, config.blocks(width))](
        values_BK, indices_BK, weight_MD, out_BD, k, width,
        GROUP=GROUP, BLOCK_D=config.block_d, num_warps=config.num_warps,
    )  # fmt: skip
    return out_BD


@triton.jit
def _row_products_kernel(rows, indices, weight, out, K, D, GROUP: tl.constexpr, BLOCK_D: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * GROUP + tl.arange(0, GROUP)
    index = tl.load(indices + token * K + i, mask=i < K, other=0)
    total = tl.zeros([GROUP, BLOCK_D], tl.float32)
    for start in range(0, D, BLOCK_D):
        column = start + tl.arange(0, BLOCK_D)
        row = tl.load(rows + token * D + column, mask=column < D, other=0.0)
        mask = (i < K)[:, None] & (column < D)[None, :]
        total += row[None, :] * tl.load(weight + index[:, None] * D + column[None, :], mask=mask, other=0.0)
    tl.store(out + token * K + i, tl.sum(total, axis=1), mask=i < K)


def row_products(rows_BD: Tensor, indices_BK: Tensor, weight_MD: Tensor) -> Tensor:
    """`⟨weight[indices[b, i]], rows[b]⟩`, [B, K]. A warp for each GROUP of products: no sum crosses warps."""
    (tokens, k), width = indices_BK.shape, weight_MD.shape[1]
    out_BK = rows_BD.new_empty(tokens, k)
    _row_products_kernel[(tokens, triton.cdiv(k, GROUP))](
        rows_BD, indices_BK, weight_MD, out_BK, k, width, GROUP=GROUP, BLOCK_D=128, num_warps=1
    )
    return out_BK


@triton.jit
def _add_outer_kernel(out, indices, values, rows, K, D, GROUP: tl.constexpr, BLOCK_D: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    row = tl.load(rows + token * D + column, mask=column < D, other=0.0)
    for start in range(0, K, GROUP):
        i = start + tl.arange(0, GROUP)
        value = tl.load(values + token * K + i, mask=i < K, other=0.0)
        index = tl.load(indices + token * K + i, mask=i < K, other=0)
        mask = (value != 0)[:, None] & (column < D)[None, :]
        tl.atomic_add(
            out + index[:, None] * D + column[None, :], value[:, None] * row[None, :], mask=mask, sem="relaxed"
        )


@triton.jit
def _add_pieces_kernel(
    out, partial, latents, starts, order, values, rows, M, K, D, piece, GROUP: tl.constexpr, BLOCK_D: tl.constexpr
):  # fmt: skip
    """Program m < M sums the first piece of latent m's segment, program M + c the later piece that begins in cell c.

    A cell is `piece` places of the sorted pairs, so that at most one first and one later piece of segments longer than
    `piece` begin in it: those leave their sums in rows 2c + 1 and 2c of `partial`, shorter segments end here.
    """
    latent = tl.program_id(0)
    number = 0
    if tl.program_id(0) >= M:
        boundary = (tl.program_id(0) - M) * piece
        latent = tl.load(latents + boundary)
        number = tl.cdiv(boundary - tl.load(starts + latent), piece)
    first = tl.load(starts + latent)
    last = tl.load(starts + latent + 1)
    begin = first + number * piece
    end = tl.minimum(begin + piece, last)
    if (number > 0) == (tl.program_id(0) >= M):
        column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
        total = tl.zeros([BLOCK_D], tl.float32)
        for place in range(begin, end, GROUP):
            p = place + tl.arange(0, GROUP)
            pair = tl.load(order + p, mask=p < end, other=0).to(tl.int32)
            value = tl.load(values + pair, mask=p < end, other=0.0)
            mask = (value != 0)[:, None] & (column < D)[None, :]
            token = (pair // K).to(tl.int64)
            row = tl.load(rows + token[:, None] * D + column[None, :], mask=mask, other=0.0)
            total += tl.sum(value[:, None] * row, axis=0)
        written = (column < D) & (begin < end)
        if last - first > piece:
            target = partial + (2 * (begin // piece) + (number == 0)).to(tl.int64) * D + column
            tl.store(target, total, mask=written)
        else:
            target = out + latent.to(tl.int64) * D + column
            tl.store(target, tl.load(target, mask=written, other=0.0) + total, mask=written)


@triton.jit
def _join_pieces_kernel(out, partial, latents, starts, D, piece, GROUP: tl.constexpr, BLOCK_D: tl.constexpr):
    """Program c adds up the pieces, in order, of the long segment whose first boundary of cells is that of cell c."""
    cell = tl.program_id(0)
    latent = tl.load(latents + cell * piece)
    first = tl.load(starts + latent)
    length = tl.load(starts + latent + 1) - first
    if (length > piece) & (tl.cdiv(first, piece) == cell):
        column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
        total = tl.zeros([BLOCK_D], tl.float32)
        for start in range(0, tl.cdiv(length, piece), GROUP):
            number = start + tl.arange(0, GROUP)
            slot = 2 * (first // piece + number) + (number == 0)
            mask = (number < tl.cdiv(length, piece))[:, None] & (column < D)[None, :]
            at = partial + slot.to(tl.int64)[:, None] * D + column[None, :]
            total += tl.sum(tl.load(at, mask=mask, other=0.0), axis=0)
        target = out + latent.to(tl.int64) * D + column
        tl.store(target, tl.load(target, mask=column < D, other=0.0) + total, mask=column < D)


def piece_length(pairs: int, width: int) -> int:
    """Pairs of one latent that one program sums; a multiple of GROUP."""
    longest = max(64, -(-pairs * rows_config(width).blocks(width) // SEGMENT_PROGRAMS))
    return -(-longest // GROUP) * GROUP


def _add_sorted_(out_MD: Tensor, indices_BK: Tensor, values_BK: Tensor, rows_BD: Tensor) -> None:
    """Each latent's pairs in order of token, cut into pieces of fixed length whose sums are then added in order."""
    (latents, width), k, pairs = out_MD.shape, indices_BK.shape[1], indices_BK.numel()
    config, piece = rows_config(width), piece_length(pairs, width)
    latents_N, order_N = indices_BK.flatten().int().sort(stable=True)
    bounds = torch.arange(latents + 1, dtype=torch.int32, device=out_MD.device)
    starts = torch.searchsorted(latents_N, bounds, out_int32=True)
    cells, blocks = triton.cdiv(pairs, piece), config.blocks(width)
    partial = out_MD.new_empty(2 * cells, width)
    constants = {"GROUP": GROUP, "BLOCK_D": config.block_d, "num_warps": config.num_warps}
    _add_pieces_kernel[(latents + cells, blocks)](
        out_MD, partial, latents_N, starts, order_N, values_BK, rows_BD, latents, k, width, piece, **constants
    )
    _join_pieces_kernel[(cells, blocks)](out_MD, partial, latents_N, starts, width, piece, **constants)


def add_outer_(
    out_MD: Tensor, indices_BK: Tensor, values_BK: Tensor, rows_BD: Tensor, *, deterministic: bool
) -> None:  # fmt: skip
    """`out[indices[b, i]] += values[b, i] · rows[b]`: atomics, or sorted pairs for the same bits from run to run."""
    if deterministic:
        _add_sorted_(out_MD, indices_BK, values_BK, rows_BD)
        return
    (tokens, k), width = indices_BK.shape, out_MD.shape[1]
    config = rows_config(width)
    _add_outer_kernel[(tokens, config.blocks(width))](
        out_MD, indices_BK, values_BK, rows_BD, k, width,
        GROUP=GROUP, BLOCK_D=config.block_d, num_warps=config.num_warps,
    )  # fmt: skip
