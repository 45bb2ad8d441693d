"""Interpretability of a coder's latents, latent by latent, kept on disk as it comes: a killed scoring goes on.

Shape suffixes: N sequences, L positions.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.scores.activations import Activations
from orchestrator.scores.delphi import delphi
from orchestrator.scores.embedding import RememberingEncoder
from orchestrator.scores.examples import Examples
from orchestrator.scores.latents import Context
from orchestrator.scores.scorers import NEED_EXPLANATION, Score, score

CONTEXTS_SHOWN = 10
"""Of the strongest examples, beside those asked about."""
TOGETHER = 8
"""Latents that are asked about at once where an LLM answers."""
UNPARSED = "Explanation could not be parsed."
"""What delphi gives in the place of an explanation."""


@dataclass(frozen=True)
class Scored:
    """What is known of one latent."""

    latent: int
    draw: int
    """In which of the draws it is."""
    examples: int
    """Examples in which it is active; too few, and there is no score."""
    explanation: str
    """What the LLM says it stands for; empty without an LLM, or where its answer was none."""
    scores: dict[str, Score]
    """By scorer; empty where there are too few examples."""
    contexts: tuple[Context, ...]

    @classmethod
    def from_json(cls, text: str) -> "Scored":
        """Inverse of `to_json`."""
        content = json.loads(text)
        content["scores"] = {name: Score(**found) for name, found in content["scores"].items()}
        contexts = content["contexts"]
        content["contexts"] = tuple(
            Context(tuple(each["tokens"]), tuple(each["activations"]), each["quantile"]) for each in contexts
        )
        return cls(**content)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


class ScoredFile:
    """Scored latents, one line each, complete or passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[int, Scored]:
        """By latent."""
        if not self.path.is_file():
            return {}
        lines = self.path.read_bytes().split(b"\n")[:-1]  # a line without its end was cut off when it was written
        return {found.latent: found for found in map(Scored.from_json, map(bytes.decode, lines))}

    def add(self, found: Sequence[Scored]) -> None:
        """Write some more, after what is complete."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = self.path.read_bytes() if self.path.is_file() else b""
        with self.path.open("r+b" if content else "wb") as file:
            file.truncate(content.rfind(b"\n") + 1)
            file.seek(0, 2)
            file.write("".join(f"{each.to_json()}\n" for each in found).encode())


@dataclass(frozen=True)
class Autointerp:
    """Scores latents of one coder."""

    name: str
    """What the coder is called, in delphi's records."""
    examples: Examples
    scorers: tuple[str, ...]
    client: Any
    """delphi's client of an LLM; None without one."""
    seed: int

    def run(
        self, draws: Sequence[Sequence[int]], activations: Mapping[int, Activations], file: ScoredFile
    ) -> list[Scored]:
        """Score the latents of all draws that `file` does not have; returns those of `file` too, in order.

        Raises why the LLM cannot be asked.
        """
        known = file.read()
        wanted = [(draw, latent) for draw, latents in enumerate(draws) for latent in latents]
        left = [(draw, latent) for draw, latent in wanted if not self._is_complete(known.get(latent))]
        # In one event loop, which some clients belong to.
        known |= asyncio.run(self._score_all(left, known, activations, file))
        return [known[latent] for _, latent in wanted]

    def _is_complete(self, found: Scored | None) -> bool:
        return found is not None and (not found.scores or found.scores.keys() >= set(self.scorers))

    async def _score_all(
        self,
        left: Sequence[tuple[int, int]],
        known: Mapping[int, Scored],
        activations: Mapping[int, Activations],
        file: ScoredFile,
    ) -> dict[int, Scored]:
        done: dict[int, Scored] = {}
        for some in _chunks(left, TOGETHER if self.client else 1):
            tasks = (self._score(draw, latent, activations[latent], known.get(latent)) for draw, latent in some)
            found = await asyncio.gather(*tasks)
            file.add(found)
            done |= {each.latent: each for each in found}
        return done

    async def _score(self, draw: int, latent: int, found: Activations, before: Scored | None) -> Scored:
        record = self.examples.record(self.name, latent, found, self.seed)
        if record is None:
            return Scored(latent, draw, self.examples.count(found), "", {}, ())
        contexts = _contexts(record, self.examples)  # scorers write into a record
        scores = dict(before.scores) if before else {}
        missing = [scorer for scorer in self.scorers if scorer not in scores]
        record.explanation = before.explanation if before else ""
        if not record.explanation and any(scorer in NEED_EXPLANATION for scorer in missing):
            record.explanation = await self._explain(record)
        encoder = RememberingEncoder()  # what is encoded together must not depend on which latents came before
        for scorer in missing:
            if scorer in NEED_EXPLANATION and not record.explanation:
                scores[scorer] = Score(None, 0, 1)
            else:
                scores[scorer] = await score(scorer, record, self.client, encoder)
        return Scored(latent, draw, len(record.examples), record.explanation, scores, contexts)

    async def _explain(self, record: Any) -> str:
        """Empty where the LLM's answer is no explanation."""
        found = await delphi("explainers").DefaultExplainer(self.client)(record)
        return "" if found.explanation == UNPARSED else str(found.explanation)


def _contexts(record: Any, examples: Examples) -> tuple[Context, ...]:
    """The strongest examples, then those asked about."""
    shown = [(example, 0) for example in record.examples[:CONTEXTS_SHOWN]]
    shown += [(example, example.quantile + 1) for example in record.test]
    return tuple(
        Context(
            tuple(examples.texts.batch_decode(example.tokens)),
            tuple(float(f"{value:.4g}") for value in example.activations.tolist()),
            quantile,
        )
        for example, quantile in shown
    )


def _chunks(items: Sequence[tuple[int, int]], size: int) -> Iterator[Sequence[tuple[int, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
