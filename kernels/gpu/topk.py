"""TopK encode in Triton without B×M scores in memory: candidates per tile from 16-bit operands, the choice in float32.

    acts, indices = TopK_k(relu(W_enc x + b_enc))        (Gao et al. 2024, arXiv 2406.04093, eq. 2)

1. A matrix product in bf16 or fp16 with float32 accumulation; of each row of a 128×128 tile only the c best scores are
   written, and the best of those left out is kept, one number per token over all tiles.
2. The k + `spare` best candidates of each token are scored again as float32 dot products; the best k of them win.
3. A token is computed again from the float32 scores of all latents where something left out might have won: where the
   best score left out is above t − ε, t the k-th winning activation. ε is twice the largest |16-bit score − float32
   score| among that token's rescored candidates. Each of those errors is a sum of 2·D independent rounding errors,
   relative to their terms at most 2⁻⁹ (bf16) or 2⁻¹² (fp16), alike for all latents of a token; the largest of the 16
   or more that are seen is about two standard deviations, so what is left out would have to err by four to win.
"""

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.rows import row_products
from kernels.gpu.topk_alone import choose_alone

COLUMNS = 128
"""Latents of one tile: as many as the low bits of a key can name."""
INNER = 64
"""Operands are padded with zeros to a multiple of this width, so that their loads need no mask."""
MAX_PER_TILE = 16
"""Where a tile would have to keep more, k is large for M and the dense form costs less."""
RECOMPUTED = 2**-9
"""Share of tokens that may be computed again because one tile held too many of their best."""
ROOM, LEAST_ROOM = 2**-6, 16
"""Share of tokens, and number of them, that are computed again together: several times as many as there should be."""
CHUNK_BYTES = 256 << 20
"""For the candidates, or the dense scores, of tokens handled together."""
LEFT_OUT = tl.constexpr(-(2**31))
"""A key below that of every score."""


@dataclass(frozen=True)
class TopKConfig:
    """How the product is tiled and how much of each tile is kept."""

    per_tile: int
    """Candidates that each row of a tile keeps."""
    block_b: int
    """Tokens of one tile."""
    num_warps: int
    num_stages: int = 3
    group: int = 16
    """Row tiles that pass over the columns together, so that weights are read from memory once for all of them."""


def spare_candidates(k: int) -> int:
    """How many beyond k to rescore: those whose 16-bit scores err, and enough of them to see how much they err."""
    return 15 + k // 16


def candidates_per_tile(k: int, latents: int) -> int:
    """Least c such that some tile holds more than c of the best in no more than a share RECOMPUTED of the tokens.

    The best fall on tiles independently: their number in one is Poisson. They are k, and a sixteenth more within ε.
    """
    tiles, mean = triton.cdiv(latents, COLUMNS), 17 / 16 * k * COLUMNS / latents
    term, c = math.exp(-mean), 0
    more = 1 - term
    while more * tiles > RECOMPUTED and c <= MAX_PER_TILE:
        c += 1
        term *= mean / c
        more -= term
    return max(c, 1)


def topk_config(tokens: int, latents: int, k: int, capability: int) -> TopKConfig | None:
    """Tiling for these shapes on sm_`capability`, or None where the dense form serves better."""
    per_tile = candidates_per_tile(k, latents)
    if per_tile > MAX_PER_TILE or latents // COLUMNS * per_tile < k + spare_candidates(k):
        return None
    block_b = max(16, min(128, triton.next_power_of_2(tokens)))
    # From sm_90 on the product's operands need no registers, and four warps hold 128 keys a thread without a spill,
    # twice on a multiprocessor; before, it takes eight.
    return TopKConfig(per_tile, block_b, num_warps=8 if capability < 90 and block_b == 128 else 4)


@triton.jit
def _halves(key):
    """Left and right half of each row. No data moves: in tensor cores' accumulators one thread has columns 64 apart."""
    left, right = tl.split(tl.permute(tl.reshape(key, [key.shape[0], 2, key.shape[1] // 2]), [0, 2, 1]))
    return left, right


@triton.jit
def _store_best(out, hidden, key, row_mask, PER_TILE: tl.constexpr):
    """Write each row's PER_TILE largest keys to out[row], and raise hidden[row] to the largest of the others.

    A pass takes the row's maximum and strikes it out. Done plainly that is a maximum, a compare and a select for every
    column and pass. Here the four columns c, c + 32, c + 64, c + 96 are sorted once (5 comparators: 10 instructions),
    a pass looks at the best of each four only, and where it strikes one the rest move up: 6 instructions for four
    columns instead of 12. Keys name their column, so that a maximum is an argmax too and strikes exactly one.
    """
    left, right = _halves(key)
    a, b = _halves(tl.maximum(left, right))
    c, d = _halves(tl.minimum(left, right))
    first, fourth = tl.maximum(a, b), tl.minimum(c, d)
    low, high = tl.minimum(a, b), tl.maximum(c, d)
    second, third = tl.maximum(low, high), tl.minimum(low, high)
    slot = tl.arange(0, triton.next_power_of_2(PER_TILE))[None, :]
    kept = tl.full([key.shape[0], triton.next_power_of_2(PER_TILE)], LEFT_OUT, tl.int32)
    for i in tl.static_range(PER_TILE):
        best = tl.max(first, axis=1)
        kept = tl.where(slot == i, best[:, None], kept)
        struck = first == best[:, None]
        first = tl.where(struck, second, first)
        second = tl.where(struck, third, second)
        third = tl.where(struck, fourth, third)
        fourth = tl.where(struck, LEFT_OUT, fourth)
    tl.store(out[:, None] + slot, kept, mask=row_mask[:, None] & (slot < PER_TILE))
    tl.atomic_max(hidden, tl.max(first, axis=1), mask=row_mask, sem="relaxed")


@triton.jit
def _tile_candidates_kernel(
    x, weight, bias, out, hidden, B, M, D,
    HAS_BIAS: tl.constexpr, PER_TILE: tl.constexpr, GROUP: tl.constexpr,
    BLOCK_B: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    """The keys of the best of each row of one tile. D is a multiple of INNER.

    A key is a score's bits, made to sort as integers, with the low 7 bits replaced by the column within the tile: 17
    significant bits of the score stay, more than its operands have.
    """
    tiles_m = tl.cdiv(M, COLUMNS)
    in_group = tl.program_id(0) % (GROUP * tiles_m)
    first_b = tl.program_id(0) // (GROUP * tiles_m) * GROUP
    group = tl.minimum(tl.cdiv(B, BLOCK_B) - first_b, GROUP)
    tile_m = in_group // group
    token = (first_b + in_group % group) * BLOCK_B + tl.arange(0, BLOCK_B)
    column = tl.arange(0, COLUMNS)
    latent = tile_m * COLUMNS + column
    inner = tl.arange(0, INNER)
    x_at = x + tl.minimum(token, B - 1).to(tl.int64)[:, None] * D + inner[None, :]
    weight_at = weight + tl.minimum(latent, M - 1).to(tl.int64)[None, :] * D + inner[:, None]
    score = tl.zeros([BLOCK_B, COLUMNS], tl.float32)
    for start in range(0, D, INNER):
        score = tl.dot(tl.load(x_at + start), tl.load(weight_at + start), score, input_precision="ieee")
    if HAS_BIAS:
        offset = tl.load(bias + latent, mask=latent < M, other=-float("inf"))
    else:
        offset = tl.where(latent < M, 0.0, -float("inf"))
    score += offset[None, :]
    bits = score.to(tl.int32, bitcast=True)
    key = ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) & -COLUMNS) | column[None, :]
    out += (token.to(tl.int64) * tiles_m + tile_m) * PER_TILE
    _store_best(out, hidden + token, key, token < B, PER_TILE)


def _score_of(keys: Tensor) -> Tensor:
    bits = keys & -COLUMNS
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _tile_candidates(
    x_TD: Tensor, weight_MD: Tensor, b_enc_M: Tensor | None, config: TopKConfig
) -> tuple[Tensor, Tensor]:
    """Keys [T, tiles · c] of each tile's candidates, and the largest key [T] that is not among them."""
    (tokens, width), latents = x_TD.shape, weight_MD.shape[0]
    tiles = triton.cdiv(latents, COLUMNS)
    keys = torch.empty(tokens, tiles * config.per_tile, dtype=torch.int32, device=x_TD.device)
    hidden_T = torch.full((tokens,), LEFT_OUT.value, dtype=torch.int32, device=x_TD.device)
    _tile_candidates_kernel[(triton.cdiv(tokens, config.block_b) * tiles,)](
        x_TD, weight_MD, x_TD if b_enc_M is None else b_enc_M, keys, hidden_T, tokens, latents, width,
        HAS_BIAS=b_enc_M is not None, PER_TILE=config.per_tile, GROUP=config.group,
        BLOCK_B=config.block_b, COLUMNS=COLUMNS, INNER=INNER,
        num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return keys, hidden_T


def _rescore(x_TD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, candidates_TC: Tensor) -> Tensor:
    scores_TC = row_products(x_TD, candidates_TC, W_enc_MD)
    return scores_TC if b_enc_M is None else scores_TC.add_(b_enc_M[candidates_TC])


def _choose(scores_TC: Tensor, candidates_TC: Tensor, k: int) -> tuple[Tensor, Tensor]:
    acts_TK, places_TK = scores_TC.topk(k, dim=1)
    return acts_TK.clamp_(min=0), candidates_TC.gather(1, places_TK)


def _select_dense(x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    """From all float32 scores of as many tokens at a time as CHUNK_BYTES hold."""
    latents = W_enc_MD.shape[0]
    parts = []
    for x_TD in x_BD.split(max(1, CHUNK_BYTES // (4 * latents))):
        scores_TM = x_TD @ W_enc_MD.T if b_enc_M is None else torch.addmm(b_enc_M, x_TD, W_enc_MD.T)
        candidates_TC = scores_TM.topk(min(k + spare_candidates(k), latents), dim=1).indices
        # Again as dot products, because torch may be set to round the operands of float32 products to TF32.
        parts.append(_choose(_rescore(x_TD, W_enc_MD, b_enc_M, candidates_TC), candidates_TC, k))
    acts, indices = zip(*parts, strict=True)
    return torch.cat(acts), torch.cat(indices)


def _select_by_tiles(
    x_TD: Tensor, low_TD: Tensor, W_enc_MD: Tensor, low_MD: Tensor, b_enc_M: Tensor | None, k: int, config: TopKConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations, indices, and which tokens [T] may have lost a winner on the way."""
    keys, hidden_T = _tile_candidates(low_TD, low_MD, b_enc_M, config)
    kept_TC, places_TC = keys.topk(k + spare_candidates(k), dim=1)
    candidates_TC = places_TC // config.per_tile * COLUMNS + (kept_TC & (COLUMNS - 1))
    candidates_TC.clamp_(max=W_enc_MD.shape[0] - 1)  # columns past the last latent win where that one's scores are NaN
    scores_TC = _rescore(x_TD, W_enc_MD, b_enc_M, candidates_TC)
    margin_T = 2 * (scores_TC - _score_of(kept_TC)).abs().amax(dim=1)
    acts_TK, indices_TK = _choose(scores_TC, candidates_TC, k)
    left_out_T = _score_of(torch.maximum(hidden_T, kept_TC[:, -1]))
    # Negated so that a token with a NaN counts as doubtful.
    return acts_TK, indices_TK, ~(left_out_T <= acts_TK[:, -1] - margin_T)


def device_capability(tensor: Tensor) -> int:
    """90 for sm_90; the same in the interpreter."""
    major, minor = torch.cuda.get_device_capability(tensor.device) if tensor.is_cuda else (9, 0)
    return 10 * major + minor


def _low_precision(value: Tensor, operands: torch.dtype) -> Tensor:
    """A copy rounded to `operands` and padded with zero columns to a multiple of INNER."""
    padded = torch.nn.functional.pad(value.to(operands), (0, -value.shape[1] % INNER))
    return padded if value.is_cuda else padded.float()  # Triton's interpreter does not multiply bfloat16


def topk_select(
    x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, k: int, operands: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The k largest rectified scores of each token, descending, and their latents: acts [B, k], indices [B, k].

    `operands` is the dtype of the product that finds candidates; float32 means that all scores are computed so.
    """
    config = topk_config(x_BD.shape[0], W_enc_MD.shape[0], k, device_capability(x_BD))
    if operands == torch.float32 or config is None:
        return _select_dense(x_BD, W_enc_MD, b_enc_M, k)
    low_BD, low_MD = _low_precision(x_BD, operands), _low_precision(W_enc_MD, operands)
    tokens = max(1, CHUNK_BYTES // (4 * config.per_tile * triton.cdiv(W_enc_MD.shape[0], COLUMNS)))
    parts = [
        _select_by_tiles(x_TD, low_TD, W_enc_MD, low_MD, b_enc_M, k, config)
        for x_TD, low_TD in zip(x_BD.split(tokens), low_BD.split(tokens), strict=True)
    ]
    acts_BK, indices_BK, doubtful_B = (torch.cat(part) for part in zip(*parts, strict=True))
    return _settle(x_BD, W_enc_MD, b_enc_M, acts_BK, indices_BK, doubtful_B)


def _settle(
    x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, acts_BK: Tensor, indices_BK: Tensor, doubtful_B: Tensor
) -> tuple[Tensor, Tensor]:
    """The choice of doubtful tokens from all their float32 scores, without asking the device how many there are.

    The first of them, more than there should ever be, are computed together; any beyond that one by one.
    """
    tokens, k = acts_BK.shape
    room = min(tokens, max(LEAST_ROOM, int(ROOM * tokens)))
    rank_B = doubtful_B.cumsum(0)
    wanted_T = torch.arange(1, room + 1, device=x_BD.device)
    rows_T = torch.searchsorted(rank_B, wanted_T).clamp_(max=tokens - 1)  # the last again where there are fewer
    acts_TK, indices_TK = _select_dense(x_BD[rows_T], W_enc_MD, b_enc_M, k)
    settled_T = doubtful_B[rows_T, None]
    acts_BK.index_copy_(0, rows_T, torch.where(settled_T, acts_TK, acts_BK[rows_T]))
    indices_BK.index_copy_(0, rows_T, torch.where(settled_T, indices_TK, indices_BK[rows_T]))
    left_B = doubtful_B & (rank_B > room)
    choose_alone(x_BD, W_enc_MD, b_enc_M, left_B, acts_BK, indices_BK)
    return acts_BK, indices_BK
