"""How much is scored, and on how many examples: two sizes, of which the larger is the study's, and no latents."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from orchestrator.scores.inference import OWN

ANSWER_TOKENS = 200
"""The longest answer of an LLM; what goes on beyond is no answer to delphi's questions."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One size. Counts of examples are those of delphi's `SamplerConfig` and `ConstructorConfig`."""

    graft_tokens: int
    """Held-out tokens on which the model runs with the coder in it."""
    draws: int
    """Disjoint draws of latents, whose means tell how much a mean depends on the draw."""
    latents_per_draw: int
    tokens: int
    """Held-out tokens from which examples come, or as many as there are."""
    example_length: int = 32
    """Tokens of an example."""
    min_examples: int = 200
    """Examples that a latent must be active in, or it is not scored."""
    train: int = 40
    """Active examples that explain."""
    test: int = 50
    """Active examples that are asked about."""
    quantiles: int = 10
    """Of an example's largest activation, of which each gives as many."""
    inactive: int = 50
    """Examples without the latent that are asked about."""


LATENTS = "autointerp/latents"
"""A metric that every trial has whose latents were scored, however many; `OWN` is that of other inference."""


def is_scored(metrics: Mapping[str, float] | None, scores: str) -> bool:
    """Whether the scores of a trial, if it has any, are of the kind that is asked for."""
    return metrics is not None and (OWN if scores == "inference" else LATENTS) in metrics


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        # Shabalin & Paulo 2025: 500 latents; examples as delphi 0.1.3 has them by default.
        "study": Protocol(graft_tokens=1 << 16, draws=5, latents_per_draw=100, tokens=1_000_000),
        # A latent of average rate is active in some hundred of the thousand examples of 32,768 tokens.
        "laptop": Protocol(
            graft_tokens=1 << 11, draws=4, latents_per_draw=10, tokens=200_000, min_examples=20, train=20, test=20,
            quantiles=4, inactive=30,
        ),
        "inference": Protocol(graft_tokens=0, draws=0, latents_per_draw=0, tokens=0),
    }
)  # fmt: skip
