"""A sweep as MLflow's UI shows it at once: a saved view with its trials, their columns, and charts of who wins.

MLflow keeps views that people share as tags of the experiment (since 3.15; there is no API for them), and opens one by
link. Tried with the releases that docs/mlflow.md names; others show the plain list of runs for the same link.
"""

import base64
import json
import uuid
import zlib
from collections.abc import Collection
from typing import Any
from urllib.parse import urlencode

TAG = "mlflow.sharedViewState."
SINCE = (3, 15)
"""The first release of MLflow whose UI opens them."""
CE_RECOVERED = "model_performance_preservation/ce_loss_score"
AUTOINTERP = "autointerp/example_embedding/mean"
COLUMNS = (
    "params.`hookpoint`", "params.`k`", "params.`expansion_factor`", "params.`variant`", "params.`lr`",
    "params.`seed`",
    "metrics.`val/fvu`", f"metrics.`{CE_RECOVERED}`", f"metrics.`{AUTOINTERP}`", "metrics.`dead_pct`",
    "attributes.`Dataset`", "attributes.`Models`", "attributes.`User`", "attributes.`Source`", "attributes.`Version`",
)  # fmt: skip
AXES = ("variant", "k", "expansion_factor", "hookpoint")
RUNS = 1000
"""Shown in one chart at most."""

Card = dict[str, Any]
"""A piece of the UI's state."""


def saved_view(journal: str, name: str, metrics: Collection[str], seeds: int, created: int, now: int) -> dict[str, str]:
    """The tags of an experiment that make its UI show one sweep, by the id of its journal.

    `metrics` are those that its trials have; `created` and `now` are in ms. With several seeds a second view groups
    them. The same sweep's tags replace those that it had.
    """
    views: dict[str, tuple[str, Card | None]] = {journal: (name, None)}
    if seeds > 1:
        keys = [{"mode": "param", "groupByData": axis} for axis in (*AXES, "model", "lr")]
        views[f"{journal}-by-seed"] = (
            f"{name}, means over seeds",
            {"aggregateFunction": "average", "groupByKeys": keys},
        )
    tags = {}
    for key, (title, grouped) in views.items():
        state = zlib.compress(json.dumps(_state(journal, metrics, grouped)).encode(), 9)
        packed = f"deflate;{base64.b64encode(state).decode()}"  # a tag of an experiment has 20,000 characters at most
        tags[TAG + key] = json.dumps({"name": title, "createdAt": created, "updatedAt": now, "state": packed})
    return tags


def view_url(base: str, experiment_id: str, journal: str) -> str:
    """Where the view opens, below the address of MLflow's server."""
    query = urlencode({"viewStateShareKey": journal, "compareRunsMode": "CHART"})
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def _state(journal: str, metrics: Collection[str], grouped: Card | None) -> dict[str, Any]:
    sections = {"Who wins": _who_wins(), "Training": _training(), "Cost": _cost()}
    ids = {section: _id(journal, section) for section in sections}
    cards = [card | {"metricSectionId": ids[section]} for section, cards in sections.items() for card in cards]
    drawn = {card["metricKey"] for card in cards if "metricKey" in card}
    # The UI adds a chart for every metric that has none, unless it was taken away.
    cards += [_bar(metric) | {"metricSectionId": ids["Cost"], "deleted": True} for metric in sorted({*metrics} - drawn)]
    return {
        "searchFilter": f"tags.`sweep.journal` = '{journal}' AND tags.`sweep.trial` LIKE '%'",
        "orderByKey": "metrics.`val/fvu`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": list(COLUMNS),
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": grouped,
        "isAccordionReordered": True,
        "compareRunSections": [
            {"uuid": ids[name], "name": name, "display": True, "isReordered": True} for name in sections
        ],
        "compareRunCharts": [card | {"uuid": _id(journal, str(number))} for number, card in enumerate(cards)],
    }


def _who_wins() -> list[Card]:
    fvu = {"key": "val/fvu", "type": "METRIC"}
    return [
        _card("SCATTER", "held-out FVU against k", xaxis={"key": "k", "type": "PARAM"}, yaxis=fvu),
        _card("PARALLEL", "the grid", selectedParams=list(AXES), selectedMetrics=["val/fvu"], showAllRuns=True),
        _bar(AUTOINTERP, "interpretability (AUROC)"),
    ]  # fmt: skip


def _training() -> list[Card]:
    return [
        _card("LINE", title, metricKey=metric, selectedMetricKeys=[metric], xAxisKey="step", scaleType="log")
        for metric, title in (("train/fvu", "training FVU"), ("dead_pct", "dead latents, %"))
    ]


def _cost() -> list[Card]:
    return [
        _bar("tokens_per_second", "tokens per second"),
        _bar("train_seconds", "seconds of training"),
        _bar("peak_memory_bytes", "peak memory of a GPU, bytes"),
    ]


def _bar(metric: str, title: str | None = None) -> Card:
    return _card("BAR", title, metricKey=metric)


def _card(kind: str, title: str | None, **fields: Any) -> Card:
    shown = {"runsCountToCompare": RUNS, "deleted": False, "isGenerated": False}
    return {"type": kind, "displayName": title, **shown, **fields}


def _id(journal: str, part: str) -> str:
    """The same for the same sweep, so that a view that is written again is the same one."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{journal} {part}"))
