"""Scored latents as a Parquet file, a row for each latent and scorer, and reading populations back out of it."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.scores.autointerp import Scored
from orchestrator.scores.reconstruction import Firing
from orchestrator.scores.statistics import Population

FILE = "latents.parquet"

_CONTEXT = pa.struct(
    [("tokens", pa.list_(pa.string())), ("activations", pa.list_(pa.float32())), ("quantile", pa.int16())]
)
SCHEMA = pa.schema(
    [
        ("latent", pa.int32()),
        ("draw", pa.int16()),
        ("examples", pa.int32()),  # in which it is active
        ("firing_rate", pa.float64()),  # share of ordinary tokens
        ("mean_step", pa.float64()),  # place in the order of choices, from 0
        ("scorer", pa.string()),  # null for a latent with too few examples
        ("score", pa.float64()),  # 0 to 1; null where no answer could be used
        ("answers", pa.int32()),
        ("unparseable", pa.int32()),
        ("explanation", pa.string()),
        ("contexts", pa.list_(_CONTEXT)),
    ]
)


def write(path: Path, scored: Sequence[Scored], firing: Firing) -> None:
    """Write `scored` with what `firing` says of the same latents; `path` is complete or as it was."""
    rows = []
    rates, steps = firing.rate_M.tolist(), firing.mean_step_M.tolist()
    for each in scored:
        latent = {
            "latent": each.latent, "draw": each.draw, "examples": each.examples, "firing_rate": rates[each.latent],
            "mean_step": steps[each.latent], "explanation": each.explanation,
            "contexts": [vars(context) for context in each.contexts],
        }  # fmt: skip
        for scorer, found in each.scores.items():
            said = {"score": found.value, "answers": found.answers, "unparseable": found.unparseable}
            rows.append({**latent, "scorer": scorer, **said})
        if not each.scores:
            rows.append({**latent, "scorer": None, "score": None, "answers": 0, "unparseable": 0})
    unfinished = path.with_name(f".{path.name}")
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), unfinished, compression="zstd")
    unfinished.rename(path)


def population(path: Path, scorer: str) -> Population:
    """The latents of a file to which the scorer gave a score."""
    table = pq.read_table(path, columns=["scorer", "score", "firing_rate", "draw", "mean_step"])
    table = table.filter((pc.field("scorer") == scorer) & pc.field("score").is_valid())
    columns = (table[name].to_pylist() for name in ("score", "firing_rate", "draw", "mean_step"))
    return Population(*map(tuple, columns))


def scorers(path: Path) -> list[str]:
    """Scorers that a file has scores of."""
    return sorted(name for name in set(pq.read_table(path, columns=["scorer"])["scorer"].to_pylist()) if name)
