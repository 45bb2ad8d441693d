"""delphi's records from sparse activations: every example is what the text says, active where the latent is."""

from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.language_models.loading import load_tokenizer
from orchestrator.scores.activations import Activations
from orchestrator.scores.examples import Examples, TokenTexts
from orchestrator.scores.protocol import PROTOCOLS
from tests.support.held_out_text import tokens_of_prose

LAPTOP = PROTOCOLS["laptop"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer("packaged")


@pytest.fixture(scope="module")
def prose(tokenizer: Any) -> np.ndarray:
    return tokens_of_prose(tokenizer, 40, 100)


@pytest.fixture(scope="module")
def made(tokenizer: Any, prose: np.ndarray) -> Examples:
    return Examples(prose, TokenTexts(tokenizer), LAPTOP)


def every(step: int, made: Examples) -> Activations:
    places = torch.arange(3, made.tokens_NL.size, step)
    return Activations(places, 1 + places.float() % 7)


def test_tokens_are_decoded_each_by_itself(tokenizer: Any) -> None:
    ids = tokenizer("Names of 3 files: naïve.txt")["input_ids"]
    assert TokenTexts(tokenizer).batch_decode(torch.tensor(ids)) == [tokenizer.decode([i]) for i in ids]


def test_examples_are_pieces_of_the_text_with_their_activations(tokenizer: Any, made: Examples) -> None:
    found = every(50, made)
    record = made.record("a", 7, found, seed=0)
    dense = np.zeros(made.tokens_NL.size)
    dense[found.places_E.numpy()] = found.values_E.numpy()
    pieces = {}
    for text, acts in zip(made.tokens_NL, dense.reshape(made.tokens_NL.shape), strict=True):
        for start in range(0, 96, 32):  # the last four positions are in none
            pieces.setdefault(tuple(text[start : start + 32]), []).append(acts[start : start + 32])
    assert len(record.test) == LAPTOP.test and len(record.train) == LAPTOP.train
    assert len(record.not_active) == LAPTOP.inactive
    for example in (*record.examples, *record.not_active):
        assert any(np.allclose(example.activations, acts) for acts in pieces[tuple(example.tokens.tolist())])
    for example in (*record.test, *record.train, *record.not_active):
        assert example.str_tokens == [tokenizer.decode([i]) for i in example.tokens.tolist()]
    assert all(not example.activations.any() for example in record.not_active)
    strongest = [example.max_activation for example in record.examples]
    assert strongest == sorted(strongest, reverse=True)
    assert made.count(found) == len(record.examples)


def test_the_sign_is_of_no_account(made: Examples) -> None:
    found = every(50, made)
    turned = Activations(found.places_E, -found.values_E)
    ours, theirs = (made.record("a", 7, each, seed=0) for each in (found, turned))
    assert [e.activations.tolist() for e in ours.test] == [e.activations.tolist() for e in theirs.test]


def test_too_few_or_too_many_examples_are_no_record(made: Examples) -> None:
    places = torch.arange(LAPTOP.min_examples - 1) * 100
    assert made.record("a", 7, Activations(places, torch.ones(len(places))), seed=0) is None
    assert made.record("a", 7, Activations(torch.empty(0, dtype=torch.int64), torch.empty(0)), seed=0) is None
    everywhere = torch.arange(made.tokens_NL.size)
    assert made.record("a", 7, Activations(everywhere, torch.ones(len(everywhere))), seed=0) is None


def test_short_sequences_are_examples_whole(tokenizer: Any, prose: np.ndarray) -> None:
    made = Examples(prose.reshape(200, 20), TokenTexts(tokenizer), LAPTOP)
    record = made.record("a", 7, every(50, made), seed=0)
    assert {len(example.tokens) for example in record.examples} == {20}


def test_the_seed_draws_the_examples_without_the_latent(made: Examples) -> None:
    texts = [
        ["".join(example.str_tokens) for example in made.record("a", 7, every(50, made), seed=seed).not_active]
        for seed in (0, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]
