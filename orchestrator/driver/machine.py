"""What the machine does while a sweep runs, as metrics of the sweep's own run that MLflow's UI knows by name."""

import math
import time
from typing import Any

import psutil

from orchestrator.driver import brokers
from orchestrator.driver.callbacks import DriverCallback
from orchestrator.driver.progress import LINE_SECONDS
from orchestrator.tracking.tracker import Tracker


class Machine(DriverCallback):
    """Logs the load of the driver's machine, and how full the cluster's object store is, now and then."""

    def __init__(self, tracker: Tracker) -> None:
        super().__init__({})
        self.tracker = tracker
        self.logged = -math.inf
        psutil.cpu_percent()  # the next call says what has been used since this one

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Log when it is due; at the first step too."""
        now = time.monotonic()
        if now - self.logged >= LINE_SECONDS:
            self.logged = now
            self.tracker.log_system_metrics(usage())


def usage() -> dict[str, float]:
    """Percent of all cores since the last call; memory and object store in MB of 10^6 bytes, as MLflow has them."""
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": psutil.virtual_memory().used / 1e6,
        "object_store_used_megabytes": brokers.store_used_bytes() / 1e6,
    }
