"""delphi's record of a latent, from its sparse activations: examples with and without it, sampled as delphi samples.

Shape suffixes: E activations of a latent, N sequences, L positions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.scores.activations import Activations
from orchestrator.scores.delphi import delphi
from orchestrator.scores.protocol import Protocol


class TokenTexts:
    """Token ids as text, each by itself: what delphi's `tokenizer.batch_decode` meant before transformers 5."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}

    def batch_decode(self, ids: Any) -> list[str]:
        """A text for each id."""
        return [self._text(int(i)) for i in ids]

    def _text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return self._texts[token]


@dataclass(frozen=True)
class Examples:
    """Makes records over one held-out text."""

    tokens_NL: np.ndarray
    """Held-out tokens, int; as many sequences as examples come from."""
    texts: TokenTexts
    protocol: Protocol

    @property
    def length(self) -> int:
        """Tokens of an example: a whole sequence where that is shorter."""
        return min(self.protocol.example_length, int(self.tokens_NL.shape[1]))

    @property
    def _whole(self) -> int:
        """Positions of a sequence that are in examples."""
        length = int(self.tokens_NL.shape[1])
        return length - length % self.length

    def _where(self, found: Activations) -> tuple[Tensor, Tensor, Tensor]:
        """Sequence and position of each activation [E], and whether they are in an example."""
        length = self.tokens_NL.shape[1]
        sequence_E, position_E = found.places_E // length, found.places_E % length
        return sequence_E, position_E, (position_E < self._whole) & (sequence_E < len(self.tokens_NL))

    def count(self, found: Activations) -> int:
        """Examples in which a latent is active."""
        sequence_E, position_E, inside_E = self._where(found)
        example_E = sequence_E * self.tokens_NL.shape[1] + position_E - position_E % self.length
        return len(torch.unique(example_E[inside_E]))

    def record(self, name: str, latent: int, found: Activations, seed: int) -> Any | None:
        """The latent's record with `train`, `test` and `not_active`; None where it has too few examples.

        Examples are consecutive pieces of a sequence, the rest of which is left out; how active a latent is counts, not
        the sign. `seed` draws the examples without it.
        """
        if self.count(found) < self.protocol.min_examples:
            return None
        latents, config = delphi("latents.latents"), delphi("config")
        sequence_E, position_E, inside_E = self._where(found)
        locations_E3 = torch.stack([sequence_E, position_E, torch.full_like(position_E, latent)], dim=1)
        record = delphi("latents.constructors").constructor(
            latents.LatentRecord(latents.Latent(name, latent)),
            latents.ActivationData(locations_E3[inside_E], found.values_E[inside_E].abs()),
            config.ConstructorConfig(
                example_ctx_len=self.length,
                min_examples=self.protocol.min_examples,
                n_non_activating=self.protocol.inactive,
            ),
            torch.from_numpy(np.array(self.tokens_NL[:, : self._whole], np.int64)),
            self.texts,
            seed=seed,
        )
        if len(record.not_active) < self.protocol.inactive:  # it is active nearly everywhere
            return None
        sampled = config.SamplerConfig(
            n_examples_train=self.protocol.train,
            n_examples_test=self.protocol.test,
            n_quantiles=self.protocol.quantiles,
        )
        return delphi("latents.samplers").sampler(record, sampled, self.texts)
