"""When the latents that are to be scored are active, sparse, from one pass over the held-out tokens.

Shape suffixes: E entries, K active latents per token, M latents, N examples, L tokens of an example.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models import SparseCoder
from orchestrator.scores.held_out import HeldOutTokens
from orchestrator.scores.reconstruction import Firing


@dataclass(frozen=True)
class Activations:
    """Of one latent, in the order of the text."""

    places_E: Tensor
    """Numbers of tokens in the held-out text, int64."""
    values_E: Tensor
    """Activations in the coder's own units, not 0, float32."""


def draw(firing: Firing, draws: int, latents: int, seed: int) -> list[list[int]]:
    """`draws` disjoint sets of `latents` of those that fired at all; smaller where too few did."""
    alive = np.flatnonzero(firing.count_M.numpy())
    order = np.random.default_rng([seed, len(firing.count_M)]).permutation(alive)
    return [sorted(int(latent) for latent in order[i * latents : (i + 1) * latents]) for i in range(draws)]


@torch.no_grad()
def activations_of(
    coder: SparseCoder, tokens: HeldOutTokens, latents: Sequence[int], most: int, expected: int
) -> dict[int, Activations]:
    """Activations on ordinary tokens among the first `most`; `expected` tokens are coming for the shared Gram matrix.

    A latent that is chosen twice for one token counts once, with the sum.
    """
    device, gram = coder.W_dec.device, coder.gram(expected)
    slot_M = torch.full((coder.num_latents,), -1, dtype=torch.int64)
    slot_M[list(latents)] = torch.arange(len(latents))
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in tokens:
        chosen_B = batch.ordinary_B & (batch.places_B < most)
        if not chosen_B.any():
            continue
        encoded = coder.encode(batch.x_BD[chosen_B].to(device), gram=gram)
        acts_BK, slots_BK = encoded.latent_acts.float().cpu(), slot_M[encoded.latent_indices.cpu()]
        wanted_BK = (slots_BK >= 0) & (acts_BK != 0)
        places_BK = batch.places_B[chosen_B][:, None].expand(acts_BK.shape)
        found.append((slots_BK[wanted_BK], places_BK[wanted_BK], acts_BK[wanted_BK]))
    slots_E, places_E, values_E = (torch.cat(parts) for parts in zip(*found, strict=True))
    return {latent: _of(places_E[slots_E == i], values_E[slots_E == i]) for i, latent in enumerate(latents)}


def _of(places_E: Tensor, values_E: Tensor) -> Activations:
    unique_E, back_E = torch.unique(places_E, return_inverse=True)
    return Activations(unique_E, torch.zeros(len(unique_E)).index_add_(0, back_E, values_E))
