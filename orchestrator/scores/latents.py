"""What is known about single latents of a trained coder."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Context:
    """A stretch of text in which a latent fires."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    """One per token, in the units of the coder's latents; 0 where the latent is silent."""
    quantile: int
    """0 is the strongest of all; from 1, the quantile of the latent's examples that this one was drawn from."""

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.activations):
            raise ValueError(f"activations: {len(self.activations)} of them for {len(self.tokens)} tokens")


@dataclass(frozen=True)
class LatentSummary:
    """One latent: when it fires, what it writes, and how well an explanation of it does."""

    latent: int
    """Its row in the decoder."""
    firing_rate: float
    """Share of tokens on which it fires."""
    max_activation: float
    """In the units of the coder's latents."""
    explanation: str = ""
    """Empty where there is none."""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    """By scorer, from 0 to 1; None where the latent could not be scored."""
    contexts: tuple[Context, ...] = ()
    """The strongest and some from every quantile, in the order in which they are shown."""
    neighbours: tuple[tuple[int, float], ...] = ()
    """Nearest rows of the decoder: latent and cosine."""
    promoted: tuple[tuple[str, float], ...] = ()
    """Tokens whose logits its decoder row raises most, each with by how much at an activation of 1."""
    suppressed: tuple[tuple[str, float], ...] = ()
    """Tokens whose logits its decoder row lowers most."""
    mostly_at_step: float | None = None
    """The mean step at which a pursuit chooses it, 1 being the first; None where a coder takes no steps."""


@dataclass(frozen=True)
class CoderPage:
    """A trained coder and those of its latents that are shown."""

    title: str
    """The run's name."""
    facts: Mapping[str, str]
    """Variant, hookpoint, k, FVU and whatever else describes the run."""
    chance: Mapping[str, float]
    """By scorer, the score of an explanation that says nothing."""
    latents: tuple[LatentSummary, ...]

    def __post_init__(self) -> None:
        seen: set[int] = set()
        for latent in (summary.latent for summary in self.latents):
            if latent in seen:
                raise ValueError(f"latents: {latent} is there twice; a page has each latent once")
            seen.add(latent)

    @property
    def scorers(self) -> tuple[str, ...]:
        """Names of all scorers, in the order in which they first occur."""
        names = [name for summary in self.latents for name in summary.scores]
        return tuple(dict.fromkeys([*names, *self.chance]))
