"""One sweep of matching pursuit's recompute form over the latents: a matrix product that keeps only candidates.

Every score carries its column in its lowest bits, so that one max per tile finds the best and where it is: three
instructions per score, five with latents that are forbidden, of which each token has a bit per latent in memory. The
winner of each of GROUPS groups of a tile's columns enters a sorted list of the RANKS best of that group in all tiles.
"""

import triton
import triton.language as tl

from kernels.gpu.common import FORBIDDEN, mark, marked_place

CANDIDATES = tl.constexpr(4)


@triton.jit
def _first_scores(b_enc, m0, last, BLOCK_B: tl.constexpr, BLOCK_M: tl.constexpr):
    """What a tile's scores start from: the bias, which added at the end would need registers beside them."""
    at = m0 + tl.arange(0, BLOCK_M)
    if b_enc is None:
        start = tl.where(at < last, 0.0, FORBIDDEN)
    else:
        start = tl.load(b_enc + at, mask=at < last, other=FORBIDDEN)
    return tl.broadcast_to(start[None, :], [BLOCK_B, BLOCK_M])


@triton.jit
def _marked_tile(acc, m0, bits, WORDS, MASKED: tl.constexpr, GROUPS: tl.constexpr):
    """Scores marked with their column, forbidden ones lowered, [BLOCK_B, GROUPS, columns]."""
    BLOCK_B: tl.constexpr = acc.shape[0]
    BLOCK_M: tl.constexpr = acc.shape[1]
    column = tl.arange(0, BLOCK_M)
    marked = mark(acc, column[None, :], BLOCK_M)
    if MASKED:
        word = tl.arange(0, BLOCK_M // 32)
        words = tl.load(bits + m0 // 32 + tl.arange(0, BLOCK_B)[:, None] * WORDS + word[None, :])
        bit = tl.full([32], 1, tl.int32) << tl.arange(0, 32)
        chosen = words[:, :, None] & bit[None, None, :]
        marked = tl.where(chosen != 0, FORBIDDEN, tl.reshape(marked, [BLOCK_B, BLOCK_M // 32, 32]))
    return tl.reshape(marked, [BLOCK_B, GROUPS, BLOCK_M // GROUPS])


@triton.jit
def _insert(key, tile, keys, tiles, RANKS: tl.constexpr):
    """The lists with one more entry each, sorted; the lowest drops out. Among equals the earlier stays ahead."""
    new_keys, new_tiles = (), ()
    for rank in tl.static_range(RANKS):
        better = key > keys[rank]
        new_keys += (tl.where(better, key, keys[rank]),)
        new_tiles += (tl.where(better, tile, tiles[rank]),)
        key = tl.where(better, keys[rank], key)
        tile = tl.where(better, tiles[rank], tile)
    return new_keys, new_tiles


@triton.jit
def sweep(
    operands, W_operands, b_enc, bits, WORDS, first, last, DP: tl.constexpr,
    BLOCK_B: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, GROUPS: tl.constexpr, RANKS: tl.constexpr,
    RUNNERS_UP: tl.constexpr, MASKED: tl.constexpr, IEEE: tl.constexpr,
):  # fmt: skip
    """Lists of the RANKS best marked scores per token and group, and the tile each came from."""
    row = tl.arange(0, BLOCK_B)
    column = tl.arange(0, BLOCK_M)
    inner = tl.arange(0, BLOCK_K)
    keys, tiles = (), ()
    for _ in tl.static_range(RANKS):
        keys += (tl.full([BLOCK_B, GROUPS], FORBIDDEN, tl.float32),)
        tiles += (tl.zeros([BLOCK_B, GROUPS], tl.int32),)
    acc = _first_scores(b_enc, first, last, BLOCK_B, BLOCK_M)
    blocks: tl.constexpr = DP // BLOCK_K
    for i in tl.range(tl.cdiv(last - first, BLOCK_M) * blocks):
        block = i % blocks
        m0 = first + i // blocks * BLOCK_M
        # One 64-bit base and 32-bit offsets: 64-bit addresses of every element would not fit beside the scores.
        r = tl.load(operands + block * BLOCK_K + (row[:, None] * DP + inner[None, :]))
        W_tile = W_operands + tl.cast(m0, tl.int64) * DP + block * BLOCK_K
        W = tl.load(W_tile + (column[None, :] * DP + inner[:, None]))
        acc = tl.dot(r, W, acc, input_precision="ieee" if IEEE else "tf32")
        if block == blocks - 1:
            marked = _marked_tile(acc, m0, bits, WORDS, MASKED, GROUPS)
            tile = tl.full([BLOCK_B, GROUPS], 0, tl.int32) + m0
            key = tl.max(marked, axis=2)
            keys, tiles = _insert(key, tile, keys, tiles, RANKS)
            if RUNNERS_UP:
                key = tl.max(tl.where(marked == key[:, :, None], FORBIDDEN, marked), axis=2)
                keys, tiles = _insert(key, tile, keys, tiles, RANKS)
            acc = _first_scores(b_enc, m0 + BLOCK_M, last, BLOCK_B, BLOCK_M)
    tl.debug_barrier()
    return keys, tiles


@triton.jit
def candidates(keys, tiles, last, BLOCK_M: tl.constexpr, RANKS: tl.constexpr, GROUPS: tl.constexpr):
    """The CANDIDATES best of the lists: their marked scores and latents, [BLOCK_B] each."""
    group = tl.arange(0, GROUPS)[None, :]
    scores, latents = (), ()
    for _ in tl.static_range(CANDIDATES):
        best, place = tl.max(keys[0], axis=1, return_indices=True)
        taken = group == place[:, None]
        tile = tl.sum(tl.where(taken, tiles[0], 0), axis=1)
        scores += (best,)
        # Of NaN scores anything may win, but nothing that is not there.
        latents += (tl.minimum(tile + marked_place(best, BLOCK_M), last - 1),)
        new_keys, new_tiles = (), ()
        for rank in tl.static_range(RANKS):
            following = keys[rank + 1] if rank + 1 < RANKS else tl.full(keys[0].shape, FORBIDDEN, tl.float32)
            following_tile = tiles[rank + 1] if rank + 1 < RANKS else tiles[rank]
            new_keys += (tl.where(taken, following, keys[rank]),)
            new_tiles += (tl.where(taken, following_tile, tiles[rank]),)
        keys, tiles = new_keys, new_tiles
    return scores, latents
