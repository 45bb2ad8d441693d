"""Latents that are known words of real text, and a reader who knows words: what scorers must tell from nothing."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from orchestrator.language_models.loading import load_tokenizer
from orchestrator.scores.activations import Activations
from orchestrator.scores.delphi import delphi
from orchestrator.scores.examples import Examples, TokenTexts
from orchestrator.scores.protocol import Protocol
from tests.support.held_out_text import tokens_of_prose

WORDS = (" file", " string", " list", " function", " class", " module", " method", " name")


@dataclass
class Prose:
    """Real text in which words are latents."""

    tokenizer: Any
    examples: Examples

    @classmethod
    def read(cls, protocol: Protocol) -> "Prose":
        tokenizer = load_tokenizer("packaged")
        return cls(tokenizer, Examples(tokens_of_prose(tokenizer, 160, 256), TokenTexts(tokenizer), protocol))

    def word(self, word: str) -> Activations:
        (token,) = self.tokenizer.encode(word, add_special_tokens=False)
        return self._any_strength((self.examples.tokens_NL.reshape(-1) == token).nonzero()[0])

    def shuffled(self, word: str) -> Activations:
        """As often, anywhere."""
        often = len(self.word(word).places_E)
        places = np.random.default_rng(often).choice(self.examples.tokens_NL.size, often, replace=False)
        return self._any_strength(np.sort(places))

    def _any_strength(self, places: np.ndarray) -> Activations:
        # Equal ones would be sorted by place, and quantiles be neighbours in the text.
        values = np.random.default_rng(len(places)).uniform(0.5, 1.5, len(places))
        return Activations(torch.from_numpy(places), torch.from_numpy(values).float())


class WordReader:
    """Explains a latent by the word that is marked most often, and then looks for that word."""

    async def generate(self, prompt: Any, **options: Any) -> Any:
        asked = prompt[-1]["content"]
        if "Latent explanation:" in asked:
            says = self._look(asked)
        elif "Example 0:" in asked:
            says = self._intruder(asked)
        else:
            says = f"[EXPLANATION]: {self._marked(asked).most_common(1)[0][0]}"
        return delphi("clients.client").Response(text=says)

    def _marked(self, text: str) -> Counter[str]:
        return Counter(word.strip() for word in re.findall(r"<<(.*?)>>", text, re.DOTALL))

    def _examples(self, text: str) -> list[str]:
        return re.split(r"Example \d+:", text)[1:]

    def _look(self, asked: str) -> str:
        explanation, _, rest = asked.partition("Latent explanation:")[2].partition("\n")
        word = explanation.strip()
        marks = "<<" in rest
        found = [word in self._marked(each) if marks else word in each.split() for each in self._examples(rest)]
        return str([int(each) for each in found])

    def _intruder(self, asked: str) -> str:
        examples = self._examples(asked)
        word = Counter(word for each in examples for word in set(self._marked(each))).most_common(1)[0][0]
        return f"[RESPONSE]: {next((i for i, each in enumerate(examples) if word not in self._marked(each)), 0)}"
