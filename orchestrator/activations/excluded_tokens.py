"""Which tokens of a shard are left out: first positions, and massive ones.

Shape suffix: T tokens of a shard.
"""

from collections.abc import Sequence

import numpy as np


def usable_tokens(position_T: np.ndarray, exclude_first: bool) -> np.ndarray:
    """bool [T]: every token, or every one but the first of its sequence."""
    return position_T > 0 if exclude_first else np.ones(len(position_T), dtype=bool)


def massive_tokens(norms: Sequence[np.ndarray], usable_T: np.ndarray, massive_multiple: float) -> np.ndarray:
    """bool [T]: usable tokens whose norm, in any of `norms` [T], exceeds that multiple of the usable tokens' median."""
    massive_T = np.zeros_like(usable_T)
    for norm_T in norms:
        massive_T |= usable_T & (norm_T > massive_multiple * np.median(norm_T[usable_T]))
    return massive_T
