"""What the machine does while a sweep runs, as metrics of the sweep's own run that MLflow's UI knows by name."""

import math
import time
from contextlib import suppress
from typing import Any

import psutil
import pynvml

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
        """Log while trials train."""
        self.look()

    def look(self) -> None:
        """Log when it is due; the first time too."""
        now = time.monotonic()
        if now - self.logged >= LINE_SECONDS:
            self.logged = now
            self.tracker.log_system_metrics(usage())


def usage() -> dict[str, float]:
    """Percent of all cores since the last call; memory and object store in MB of 10^6 bytes, as MLflow has them.

    Likewise of each GPU of this machine that NVIDIA's driver tells of.
    """
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": psutil.virtual_memory().used / 1e6,
        "object_store_used_megabytes": brokers.store_used_bytes() / 1e6,
        **_gpus(),
    }


def _gpus() -> dict[str, float]:
    """By number, under MLflow's names; nothing where there is no driver, or where it does not know."""
    found: dict[str, float] = {}
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for number in range(pynvml.nvmlDeviceGetCount()):
            gpu = pynvml.nvmlDeviceGetHandleByIndex(number)
            found[f"gpu_{number}_memory_usage_megabytes"] = pynvml.nvmlDeviceGetMemoryInfo(gpu).used / 1e6
            found[f"gpu_{number}_utilization_percentage"] = pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
    return found
