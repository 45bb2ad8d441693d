"""delphi's scorers, each as one number between 0 and 1 for a latent.

A new scorer is made for every latent: they draw from a generator of their own, and a score must not depend on which
latents came before.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from orchestrator.grid.config import WITHOUT_LLM
from orchestrator.scores.delphi import delphi

SHOWN = 5
"""Examples in one question to the LLM, as in delphi's own runs; the numbers of examples are multiples of it."""

NEED_EXPLANATION = ("fuzz", "detection")
CHANCE: Mapping[str, float] = MappingProxyType({WITHOUT_LLM: 0.5, "fuzz": 0.5, "detection": 0.5, "intruder": 1 / SHOWN})
"""Scorers, and what each gives to a latent that means nothing."""


@dataclass(frozen=True)
class Score:
    """What one scorer said of one latent."""

    value: float | None
    """From 0 to 1; None where no answer could be used."""
    answers: int
    """Answers that could be used."""
    unparseable: int
    """Answers that were none; they count as neither right nor wrong."""


async def score(scorer: str, record: Any, client: Any, encoder: Any) -> Score:
    """Ask one scorer; those with an LLM (`client`) read `record.explanation`, but for `intruder`.

    Raises why the LLM cannot be asked, which delphi's scorers pass over as an answer that says nothing.
    """
    found = await _SCORERS[scorer](record, client, encoder)
    if client is not None and client.failure is not None:
        raise client.failure
    return found


async def _embedding(record: Any, client: Any, encoder: Any) -> Score:
    """The chance that a new example with the latent is closer to others with it than one without it is: an AUROC."""
    found = await delphi("scorers").ExampleEmbeddingScorer(encoder)(record)
    with_it = np.array([batch.delta_plus for batch in found.score])
    without = np.array([batch.delta_minus for batch in found.score])
    usable = np.isfinite(with_it) & np.isfinite(without)
    higher = np.sign(with_it[usable][:, None] - without[usable][None, :])
    value = float((higher.mean() + 1) / 2) if usable.any() else None
    return Score(value, int(usable.sum()), int((~usable).sum()))


async def _fuzz(record: Any, client: Any, encoder: Any) -> Score:
    scorer = delphi("scorers").FuzzingScorer(client, n_examples_shown=SHOWN)
    return _balanced_accuracy((await scorer(record)).score)


async def _detection(record: Any, client: Any, encoder: Any) -> Score:
    scorer = delphi("scorers").DetectionScorer(client, n_examples_shown=SHOWN)
    return _balanced_accuracy((await scorer(record)).score)


async def _intruder(record: Any, client: Any, encoder: Any) -> Score:
    scorer = delphi("scorers").IntruderScorer(client, n_examples_shown=SHOWN)
    answers = (await scorer(record)).score
    right = [answer.correct for answer in answers if answer.sample is not None]
    return Score(float(np.mean(right)) if right else None, len(right), len(answers) - len(right))


def _balanced_accuracy(answers: Sequence[Any]) -> Score:
    """Mean of the shares answered rightly of examples with the latent and without it, whatever their numbers."""
    usable = [answer for answer in answers if answer.prediction is not None]
    sides = [[answer.correct for answer in usable if answer.activating is side] for side in (True, False)]
    value = float(np.mean([np.mean(side) for side in sides])) if all(sides) else None
    return Score(value, len(usable), len(answers) - len(usable))


_SCORERS: Mapping[str, Callable[[Any, Any, Any], Awaitable[Score]]] = MappingProxyType(
    {WITHOUT_LLM: _embedding, "fuzz": _fuzz, "detection": _detection, "intruder": _intruder}
)
