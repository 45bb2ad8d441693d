"""What a coder's latents are beside each other: how rare, how much alike, and which ones another seed finds again.

Shape suffixes: D width, M latents.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from models import SparseCoder
from orchestrator.scores.reconstruction import Firing

RATE_EDGES = tuple(10.0**half for half in np.arange(-6, 0.5, 0.5))
"""Edges of the bins of `firing_rates`, half decades."""
PARTNER_COSINE = 0.7
MOST_LATENTS = 1 << 14
"""The optimal assignment needs a matrix of M×M and time that grows with its third power."""
_ROWS = 2048


def decoder_rows(coder: SparseCoder) -> Tensor:
    """What each latent writes at an activation of 1, [M, D]; the mean over steps where each has its own decoder."""
    rows_MD: Tensor = coder.W_dec.detach().float()
    return rows_MD.mean(dim=0) if rows_MD.ndim == 3 else rows_MD


def directions(coder: SparseCoder) -> Tensor:
    """`decoder_rows` of length 1, [M, D]."""
    return torch.nn.functional.normalize(decoder_rows(coder), dim=-1)


def firing_rates(firing: Firing) -> dict[str, list[float]]:
    """A histogram: `edges` of bins and the `latents` in each; those that never fired are in none."""
    latents, _ = np.histogram(firing.rate_M.numpy(), RATE_EDGES)
    return {"edges": list(RATE_EDGES), "latents": [int(count) for count in latents]}


def largest_cosines(rows_MD: Tensor) -> Tensor:
    """Of each row with any other, [M]."""
    largest = []
    for start in range(0, len(rows_MD), _ROWS):
        cosines = rows_MD[start : start + _ROWS] @ rows_MD.T
        cosines[torch.arange(len(cosines)), torch.arange(start, start + len(cosines))] = -1.0
        largest.append(cosines.amax(dim=1))
    return torch.cat(largest)


def metrics(coder: SparseCoder, firing: Firing) -> dict[str, float]:
    """Share of latents that never fired, and how much decoder rows resemble their nearest: duplicates have 1."""
    largest_M = largest_cosines(directions(coder)).cpu()
    return {
        "latents/never_fired_pct": 100.0 * float((firing.count_M == 0).double().mean()),
        "latents/decoder_max_cosine_mean": float(largest_M.mean()),
        "latents/decoder_max_cosine_p99": float(largest_M.quantile(0.99)),
    }


def shared_latents(one: Tensor, other: Tensor) -> float:
    """Share of decoder rows [M, D] of one coder that have a partner of cosine 0.7 or more in the other.

    Rows are paired one to one so that the cosines add up to the most (scipy's `linear_sum_assignment`). Raises
    ValueError for coders of different size, or too many latents.
    """
    if one.shape != other.shape or len(one) > MOST_LATENTS:
        raise ValueError(
            f"decoders of {list(one.shape)} and {list(other.shape)}: must be equal, {MOST_LATENTS} rows at most"
        )
    cosines = (one @ other.T).cpu().numpy()
    pairs = linear_sum_assignment(cosines, maximize=True)
    return float((cosines[pairs] >= PARTNER_COSINE).mean())


def shared_by_seeds(coders: Sequence[Tensor]) -> list[float]:
    """For each coder the mean of `shared_latents` with the others, of which there is at least one."""
    shares = np.full((len(coders), len(coders)), np.nan)
    for i, one in enumerate(coders):
        for j in range(i):
            shares[i, j] = shares[j, i] = shared_latents(one, coders[j])
    return [float(np.nanmean(row)) for row in shares]
