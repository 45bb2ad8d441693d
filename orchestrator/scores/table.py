"""Scored latents as a Parquet file, a row for each latent and scorer, and reading them back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.atomic import atomic_file
from orchestrator.scores.autointerp import Scored
from orchestrator.scores.latents import Context, LatentSummary
from orchestrator.scores.statistics import Population

FILE = "latents.parquet"

_CONTEXT = pa.struct(
    [("tokens", pa.list_(pa.string())), ("activations", pa.list_(pa.float32())), ("quantile", pa.int16())]
)
_NEIGHBOUR = pa.struct([("latent", pa.int32()), ("cosine", pa.float32())])
_WRITTEN = pa.struct([("token", pa.string()), ("weight", pa.float32())])
SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("draw", pa.int16()),
        ("examples", pa.int32()),  # in which it is active
        ("firing_rate", pa.float64()),  # share of ordinary tokens
        ("mean_step", pa.float64()),  # place in the order of choices, from 1; null for coders that take no steps
        ("max_activation", pa.float64()),
        ("scorer", pa.string()),  # null for a latent with too few examples
        ("score", pa.float64()),  # 0 to 1; null where no answer could be used
        ("answers", pa.int32()),
        ("unparseable", pa.int32()),
        ("explanation", pa.string()),
        ("neighbours", pa.list_(_NEIGHBOUR)),
        ("promoted", pa.list_(_WRITTEN)),
        ("suppressed", pa.list_(_WRITTEN)),
        ("contexts", pa.list_(_CONTEXT)),
    ]
)


def write(path: Path, scored: Sequence[Scored], summaries: Sequence[LatentSummary]) -> None:
    """Write scored latents and the summaries of the same; `path` is complete or as it was."""
    rows = [row for pair in zip(scored, summaries, strict=True) for row in _rows(*pair)]
    with atomic_file(path) as unfinished:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), unfinished, compression="zstd")


def _rows(scored: Scored, summary: LatentSummary) -> list[dict[str, Any]]:
    latent = {
        "latent": summary.latent, "draw": scored.draw, "examples": scored.examples,
        "firing_rate": summary.firing_rate, "mean_step": summary.mostly_at_step,
        "max_activation": summary.max_activation, "explanation": summary.explanation,
        "neighbours": [{"latent": other, "cosine": cosine} for other, cosine in summary.neighbours],
        "promoted": [{"token": token, "weight": weight} for token, weight in summary.promoted],
        "suppressed": [{"token": token, "weight": weight} for token, weight in summary.suppressed],
        "contexts": [vars(context) for context in summary.contexts],
        "scorer": None, "score": None, "answers": 0, "unparseable": 0,
    }  # fmt: skip
    return [
        latent | {"scorer": name, "score": said.value, "answers": said.answers, "unparseable": said.unparseable}
        for name, said in scored.scores.items()
    ] or [latent]


def population(path: Path, scorer: str) -> Population:
    """The latents of a file to which the scorer gave a score."""
    table = pq.read_table(path, columns=["scorer", "score", "firing_rate", "draw", "mean_step"])
    table = table.filter((pc.field("scorer") == scorer) & pc.field("score").is_valid())
    columns = (table[name].to_pylist() for name in ("score", "firing_rate", "draw", "mean_step"))
    return Population(*map(tuple, columns))


def scorers(path: Path) -> list[str]:
    """Scorers that a file has scores of."""
    return sorted(name for name in set(pq.read_table(path, columns=["scorer"])["scorer"].to_pylist()) if name)


def summaries(path: Path) -> tuple[LatentSummary, ...]:
    """Each latent of a file once, with the scores of all scorers."""
    rows = pq.read_table(path).to_pylist()
    scores: dict[int, dict[str, float | None]] = {row["latent"]: {} for row in rows}
    for row in rows:
        if row["scorer"] is not None:
            scores[row["latent"]][row["scorer"]] = row["score"]
    first = {row["latent"]: row for row in reversed(rows)}
    return tuple(_summary(first[latent], found) for latent, found in scores.items())


def _summary(row: dict[str, Any], scores: dict[str, float | None]) -> LatentSummary:
    return LatentSummary(
        latent=row["latent"],
        firing_rate=row["firing_rate"],
        max_activation=row["max_activation"],
        explanation=row["explanation"],
        scores=scores,
        contexts=tuple(
            Context(tuple(each["tokens"]), tuple(each["activations"]), each["quantile"]) for each in row["contexts"]
        ),
        neighbours=tuple((each["latent"], each["cosine"]) for each in row["neighbours"]),
        promoted=tuple((each["token"], each["weight"]) for each in row["promoted"]),
        suppressed=tuple((each["token"], each["weight"]) for each in row["suppressed"]),
        mostly_at_step=row["mean_step"],
    )
