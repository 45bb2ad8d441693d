"""The metrics of a trial that go to MLflow while it runs; its final result is logged whole."""

from collections.abc import Mapping
from typing import Any

METRICS = (
    "train/fvu", "val/fvu", "val/fvu_with_massive", "val/mean_share", "val/tokens", "val/massive_tokens", "dead_pct",
    "l0", "lr", "tokens_per_second", "train_seconds", "data_wait_pct", "device_busy_pct", "peak_memory_bytes",
    "excluded_first_tokens", "excluded_massive_tokens",
)  # fmt: skip


def metrics_of(report: Mapping[str, Any]) -> dict[str, float]:
    """Those of a report, without what Ray Tune adds to it."""
    return {key: report[key] for key in METRICS if key in report}
