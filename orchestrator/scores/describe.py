"""What is known of single latents beside their scores: neighbours in the decoder, and what they write into the logits.

Shape suffixes: D width, M latents, N latents described, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models import SparseCoder
from orchestrator.language_models.loading import LanguageModel
from orchestrator.scores.autointerp import Scored
from orchestrator.scores.dictionary import decoder_rows, directions
from orchestrator.scores.examples import TokenTexts
from orchestrator.scores.latents import LatentSummary
from orchestrator.scores.reconstruction import Firing

NEIGHBOURS = 5
WRITTEN = 8
"""Tokens raised, and tokens lowered."""
FINAL_NORMS = ("norm", "final_layer_norm", "ln_f", "final_layernorm")
"""What architectures call the norm before their head."""


def describe(
    coder: SparseCoder, model: LanguageModel, scored: Sequence[Scored], firing: Firing, texts: TokenTexts
) -> list[LatentSummary]:
    """A summary of each scored latent, in order."""
    if not scored:
        return []
    latents = torch.tensor([each.latent for each in scored])
    rows_MD = directions(coder)
    near = _neighbours(rows_MD, latents)
    written_NV = _written(model, coder, latents)
    pursues = coder.cfg.recipe.choice == "pursuit"
    return [
        LatentSummary(
            latent=each.latent,
            firing_rate=float(firing.rate_M[each.latent]),
            max_activation=max((max(context.activations) for context in each.contexts), default=float("nan")),
            explanation=each.explanation,
            scores={name: found.value for name, found in each.scores.items()},
            contexts=each.contexts,
            neighbours=near[i],
            promoted=_tokens(written_NV, i, texts, largest=True),
            suppressed=_tokens(written_NV, i, texts, largest=False),
            mostly_at_step=float(firing.mean_step_M[each.latent]) + 1 if pursues else None,
        )
        for i, each in enumerate(scored)
    ]


def _neighbours(rows_MD: Tensor, latents: Tensor) -> list[tuple[tuple[int, float], ...]]:
    cosines_NM = rows_MD[latents] @ rows_MD.T
    cosines_NM[torch.arange(len(latents)), latents] = -2.0
    values, others = cosines_NM.topk(min(NEIGHBOURS, len(rows_MD) - 1))
    return [
        tuple(zip(map(int, indices), map(float, cosines), strict=True))
        for indices, cosines in zip(others.tolist(), values.tolist(), strict=True)
    ]


def _written(model: LanguageModel, coder: SparseCoder, latents: Tensor) -> Tensor | None:
    """How much each logit changes for an activation of 1, past all later layers, [N, V] float32.

    Through the final norm's gain, without its division. None where the hookpoint is no part of the residual stream.
    """
    head = model.model.get_output_embeddings()
    if not model.predicts or head is None or head.weight.shape[1] != coder.d_in:
        return None
    rows_ND = decoder_rows(coder)[latents]
    unembedding_VD: Tensor = head.weight.float().to(rows_ND)
    return (rows_ND * _gain(model.base, coder.d_in).to(rows_ND)) @ unembedding_VD.T


def _gain(base: Any, width: int) -> Tensor:
    for name in FINAL_NORMS:
        weight = getattr(getattr(base, name, None), "weight", None)
        if isinstance(weight, Tensor) and weight.shape == (width,):
            return weight.detach().float()
    return torch.ones(width)


def _tokens(
    written_NV: Tensor | None, latent: int, texts: TokenTexts, *, largest: bool
) -> tuple[tuple[str, float], ...]:
    if written_NV is None:
        return ()
    weights, ids = written_NV[latent].topk(WRITTEN, largest=largest)
    return tuple(zip(texts.batch_decode(ids), weights.tolist(), strict=True))
