"""The scores of every trained trial beside its FVU, a row each."""

import math
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.comparison.points import FVU, place_name, point_of
from orchestrator.scores.inference import OWN, WITH_OTHERS
from orchestrator.scores.inference import PREFIX as INFERENCE
from orchestrator.tracking.records import TrialRecord, by_numbers
from orchestrator.tracking.views import CE_RECOVERED

PREFIX = "autointerp/"


def score_rows(records: Sequence[TrialRecord]) -> list[list[str]]:
    """A header, and a row for every trial that is scored; empty where none is."""
    points = {point_of(record) for record in records}
    scored = [record for record in records if FVU in record.metrics and is_scored(record.metrics)]
    if not scored:
        return []
    scorers = sorted({scorer for record in scored for scorer in scorers_of(record.metrics)})
    head = ["hookpoint", "expansion", "k", "variant", "seed", "FVU", "CE recovered", "dead %"]
    rows = [[*head, *(f"{scorer} (95 %), n" for scorer in scorers)]]
    for record in _by_place(scored):
        axes = (record.expansion_factor, record.k, record.variant, record.seed)
        metrics = record.metrics
        rows.append(
            [
                place_name(point_of(record), points), *map(str, axes), f"{metrics[FVU]:.4f}",
                _number(metrics, CE_RECOVERED, 3), _number(metrics, "dead_pct", 1),
                *(_mean(metrics, scorer) for scorer in scorers),
            ]
        )  # fmt: skip
    return rows


def inference_rows(records: Sequence[TrialRecord]) -> list[list[str]]:
    """A header, and a row for every trial whose dictionary was tried with other encoders; empty where none was."""
    points = {point_of(record) for record in records}
    tried = [record for record in records if OWN in record.metrics]
    names = [name for name in WITH_OTHERS if any(name in record.metrics for record in tried)]
    if not names:
        return []
    headings = [name.removeprefix(INFERENCE).removesuffix("/fvu") for name in (OWN, *names)]
    rows = [["hookpoint", "expansion", "k", "dictionary", "seed", *headings]]
    for record in _by_place(tried):
        axes = (record.expansion_factor, record.k, record.variant, record.seed)
        values = (_number(record.metrics, name, 4) for name in (OWN, *names))
        rows.append([place_name(point_of(record), points), *map(str, axes), *values])
    return rows


def is_scored(metrics: Mapping[str, float]) -> bool:
    """Whether there is a metric that scoring alone gives."""
    return CE_RECOVERED in metrics or bool(scorers_of(metrics))


def scorers_of(metrics: Iterable[str]) -> list[str]:
    """Names of the scorers that metrics are of."""
    return sorted({key.split("/")[1] for key in metrics if key.startswith(PREFIX) and key.endswith("/mean")})


def _by_place(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return sorted(records, key=lambda r: (r.model, by_numbers(r.hookpoint), r.expansion_factor, r.k))


def _number(metrics: Mapping[str, float], name: str, digits: int) -> str:
    value = metrics.get(name, math.nan)
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _mean(metrics: Mapping[str, float], scorer: str) -> str:
    """The mean with its 95 % interval, and the number of latents."""
    mean, low, high, count = (metrics.get(f"{PREFIX}{scorer}/{key}") for key in ("mean", "mean_low", "mean_high", "n"))
    if not count or mean is None or low is None or high is None:
        return "-"
    return f"{mean:.3f} [{low:.3f}, {high:.3f}], {count:.0f}"
