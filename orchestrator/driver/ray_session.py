"""Joining the Ray cluster there is, or starting a private Ray on this machine."""

import logging
import os
import socket
from pathlib import Path

import ray

from orchestrator.errors import UserError, one_line
from orchestrator.grid.hardware import Hardware

STARTED_CLUSTER = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` leaves the address of the cluster it made."""

log = logging.getLogger(__name__)


def join_cluster() -> bool:
    """Join the Ray cluster that RAY_ADDRESS names or that `ray start` made here; False where there is none.

    The private Ray of another sweep is left alone, though `address="auto"` would find it.
    """
    given = os.environ.get("RAY_ADDRESS")
    address = given or (STARTED_CLUSTER.read_text(encoding="utf-8").strip() if STARTED_CLUSTER.is_file() else "local")
    if address == "local":
        return False
    try:
        if ":" in address and "://" not in address:  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if given:
            raise UserError(f"RAY_ADDRESS {given!r}: no Ray cluster can be joined there ({error})") from None
        log.info("the Ray cluster at %s that was started here does not answer; going on without", address)
        return False
    return True


def start_private_ray(hardware: Hardware) -> None:
    """Start a Ray of this process's own; it ends with `ray.shutdown`. Raises UserError where it does not start."""
    try:
        ray.init(
            address="local", num_cpus=hardware.cpus, num_gpus=hardware.gpus, include_dashboard=False,
            log_to_driver=False, logging_level=logging.WARNING,
        )  # fmt: skip
    except Exception as error:
        place = os.environ.get("RAY_TMPDIR") or "/tmp"
        raise UserError(
            f"Ray does not start on this machine: {one_line(error)}; it needs room and a right to write in "
            f"{place}/ray (RAY_TMPDIR names another place), and {Path.home()} for its token"
        ) from error
