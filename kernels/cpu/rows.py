"""Row-wise building blocks on CPU: gathered sums, dot products and scattered outer products."""

from collections.abc import Iterator

import torch
from torch import Tensor

from kernels.cpu import native

ARGMAX_BLOCK = 128
"""torch's CPU argmax is scalar but its amax is vectorised: 0.35 + 0.15 µs against 3.9 µs for 4,608 scores (Zen 4)."""
CHUNK_TOKENS = 512
"""Tokens handled together by loops over latents: their rows of width D stay in a core's cache."""


def chunks(rows: int, size: int) -> Iterator[slice]:
    """Slices that cut `rows` rows into pieces of at most `size`."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def extension_serves(tensor: Tensor) -> bool:
    """The compiled extension serves this tensor: float32 on CPU, and a compiler was found."""
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and native.library() is not None


def _check_range(indices_BK: Tensor, rows: int) -> None:
    """Compiled code reads and writes where it is told to. Raises ValueError for rows that do not exist."""
    if indices_BK.numel():
        first, last = (int(bound) for bound in torch.aminmax(indices_BK))
        if first < 0 or last >= rows:
            raise ValueError(
                f"indices are from {first} to {last}; expected 0 to {rows - 1} (the number of latents is {rows})"
            )


def row_argmax(scores_TM: Tensor) -> Tensor:
    """Index of each row's largest score, [T] int64; blockwise on CPU, where only the winning block is searched."""
    rows, columns = scores_TM.shape
    whole = columns // ARGMAX_BLOCK * ARGMAX_BLOCK
    if scores_TM.is_cuda or whole < 2 * ARGMAX_BLOCK:
        return scores_TM.argmax(dim=1)
    blocks = scores_TM[:, :whole].view(rows, -1, ARGMAX_BLOCK)
    block_max = blocks.amax(dim=2)
    block = block_max.argmax(dim=1)
    row = torch.arange(rows, device=scores_TM.device)
    best = block * ARGMAX_BLOCK + blocks[row, block].argmax(dim=1)
    if whole == columns:
        return best
    tail_max, tail = scores_TM[:, whole:].max(dim=1)
    return torch.where(tail_max > block_max[row, block], tail + whole, best)


def add_outer_(
    out_MD: Tensor, indices_BK: Tensor, values_BK: Tensor, rows_BD: Tensor, *, deterministic: bool = True
) -> None:
    """`out[indices[b, i]] += values[b, i] * rows[b]` for every b and i, without a B×K×D buffer.

    On CPU the order of every sum is fixed, whatever `deterministic` says.
    """
    tokens, k = indices_BK.shape
    if extension_serves(out_MD):
        _check_range(indices_BK, out_MD.shape[0])
        at = native.pointer
        native.call("add_outer", at(out_MD), at(indices_BK), at(values_BK), at(rows_BD), tokens, k, rows_BD.shape[1])
        return
    for rows in chunks(tokens, CHUNK_TOKENS):
        for i in range(k):
            out_MD.index_add_(0, indices_BK[rows, i], values_BK[rows, i, None] * rows_BD[rows])


def weighted_rows(values_BK: Tensor, indices_BK: Tensor, weight_MD: Tensor) -> Tensor:
    """`Σ_i values[b, i] · weight[indices[b, i]]`, [B, D]."""
    if weight_MD.device.type == "cpu":  # torch's fast path does not look either
        _check_range(indices_BK, weight_MD.shape[0])
    return torch.nn.functional.embedding_bag(indices_BK, weight_MD, per_sample_weights=values_BK, mode="sum")


def row_products(rows_BD: Tensor, indices_BK: Tensor, weight_MD: Tensor) -> Tensor:
    """`⟨weight[indices[b, i]], rows[b]⟩`, [B, K], without a B×K×D buffer."""
    tokens, k = indices_BK.shape
    out_BK = rows_BD.new_empty(tokens, k)
    if extension_serves(rows_BD):
        _check_range(indices_BK, weight_MD.shape[0])
        at = native.pointer
        native.call("row_products", at(out_BK), at(rows_BD), at(indices_BK), at(weight_MD), tokens, k, rows_BD.shape[1])
        return out_BK
    for rows in chunks(tokens, CHUNK_TOKENS):
        for i in range(k):
            picked_TD = weight_MD.index_select(0, indices_BK[rows, i])
            out_BK[rows, i] = picked_TD.mul_(rows_BD[rows]).sum(dim=1)
    return out_BK
