"""The order of training blocks on disk: shuffled, so that every shard of them is a sample of the whole text.

Neighbouring blocks are of the same documents. A trial takes its batches from one shard at a time, and learns less from
one that holds a few dozen documents (docs/log.md has figures). All blocks are on disk by then, streamed ones too, so no
shuffle buffer is needed, and none has to be of a size.
"""

from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

SEED = 0
_BLOCKS_AT_ONCE = 1024  # bounds memory


def block_order(blocks: int) -> np.ndarray:
    """Which block of the text comes at each place, int64 [N]; a function of their number alone."""
    return np.random.default_rng(SEED).permutation(blocks)


def shuffle_blocks(path: Path) -> None:
    """Put the blocks [N, L] of a file into `block_order`."""
    as_read = path.with_suffix(".as-read")
    path.rename(as_read)
    source_NL = np.load(as_read, mmap_mode="r")
    target_NL = open_memmap(path, mode="w+", dtype=source_NL.dtype, shape=source_NL.shape)
    order_N = block_order(len(source_NL))
    for start in range(0, len(order_N), _BLOCKS_AT_ONCE):
        target_NL[start : start + _BLOCKS_AT_ONCE] = source_NL[order_N[start : start + _BLOCKS_AT_ONCE]]
    target_NL.flush()
    as_read.unlink()
