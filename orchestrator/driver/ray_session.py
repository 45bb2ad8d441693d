"""Joining the Ray cluster there is, or starting a private Ray on this machine."""

import contextlib
import logging
import os
import resource
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray

from orchestrator.driver.interruption import Interruption
from orchestrator.errors import UserError, one_line
from orchestrator.grid.hardware import Hardware

STARTED_CLUSTER = "ray/ray_current_cluster"
"""Where in its temporary directory `ray start` leaves the address of the cluster it made."""
LONGEST_TEMPORARY = 107 - len("/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store")
"""Characters of a temporary directory that leave Ray's sockets a name that Linux takes."""

OTHER_MAPPED_BYTES = 8 << 30
"""Addresses that Ray's libraries and threads map beside the object store, which is 30 % of the memory."""


class LostRay(UserError):
    """There is nothing left to run on."""


_THREAD = ThreadPoolExecutor(1)
"""Lives as long as this process: Linux ends Ray's processes with the thread that started them."""
_STARTING = threading.Event()

log = logging.getLogger(__name__)


def _leave_the_group() -> None:
    """Signals of terminals and job schedulers go to a process group; Ray's processes are ended by us, in order."""
    if _STARTING.is_set():
        os.setpgrp()


os.register_at_fork(after_in_child=_leave_the_group)


def join_cluster(interruption: Interruption) -> bool:
    """Join the Ray cluster that RAY_ADDRESS names or that `ray start` made here; False where there is none.

    The private Ray of another sweep is left alone, though `address="auto"` would find it.
    """
    given = os.environ.get("RAY_ADDRESS")
    address = given or _started_here() or "local"
    if address == "local":
        return False
    try:
        if ":" in address and "://" not in address:  # Ray itself would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        _init(interruption, address=address)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if given:
            raise UserError(f"RAY_ADDRESS {given!r}: no Ray cluster can be joined there ({error})") from None
        log.warning("the Ray cluster at %s that was started here does not answer; going on without", address)
        return False
    return True


def _init(interruption: Interruption, **options: Any) -> None:
    """`ray.init`, where no signal breaks it off half-way, which ends in a crash."""
    logging.getLogger("ray._private.worker").setLevel(logging.ERROR)  # warns that SIGTERM is not its own here
    _STARTING.set()
    try:
        interruption.outlast(_THREAD.submit(_ray_init, **options))
    finally:
        _STARTING.clear()


def _ray_init(**options: Any) -> None:
    # Ray's processes import from the directory they are started in first: a person's own `models.py` is not ours.
    with contextlib.chdir(Path(__file__).resolve().parents[2]):
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **options)


def leave_ray(interruption: Interruption) -> None:
    """`ray.shutdown`, which leaves SIGTERM to C: it would end this process before it has said what it did."""
    interruption.sit_out(leaving := _THREAD.submit(ray.shutdown))
    leaving.result()


def check_ray() -> None:
    """Raises LostRay where no node of the cluster is alive any more: Ray itself would wait for one for ever."""
    if not any(node["Alive"] for node in ray.nodes()):
        raise LostRay("Ray has lost this machine: its raylet was killed, perhaps for memory")


def _started_here() -> str | None:
    for place in (os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR"), "/tmp"):
        if place and (address := Path(place, STARTED_CLUSTER)).is_file():
            return address.read_text(encoding="utf-8").strip()
    return None


def start_private_ray(hardware: Hardware, interruption: Interruption) -> None:
    """Start a Ray of this process's own; it ends with `leave_ray`. Raises UserError where it does not start."""
    place = temporary_directory() / "ray"
    os.environ.setdefault("RAY_nums_py_gcs_reconnect_retry", "1")  # or agents outlive a killed driver by five minutes
    _check_address_space()
    try:
        _init(
            interruption, address="local", num_cpus=hardware.cpus, num_gpus=hardware.gpus, include_dashboard=False,
            _temp_dir=str(place),
        )  # fmt: skip
    except Exception as error:
        raise UserError(
            f"Ray does not start on this machine: {one_line(error)}; it needs room and a right to write in {place} "
            f"(RAY_TMPDIR names another place, of at most {LONGEST_TEMPORARY} characters), and in "
            f"{Path.home() / '.ray'} for its token (RAY_AUTH_TOKEN may hold one)"
        ) from error


def _check_address_space() -> None:
    """Ray maps its object store, and ends the process in C++ where it cannot. Raises UserError."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = OTHER_MAPPED_BYTES + int(0.3 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise UserError(
            f"ulimit -v {limit >> 10}: Ray maps some {needed >> 10} kB of addresses here, most of which it never uses; "
            "`ulimit -v unlimited` lifts the limit"
        )


def temporary_directory() -> Path:
    """Where Ray keeps sockets and logs: RAY_TMPDIR, or TMPDIR where it serves (some are too long), or /tmp."""
    if asked := os.environ.get("RAY_TMPDIR"):
        return Path(asked).absolute()
    usual = Path(os.environ.get("TMPDIR") or "/tmp").absolute()
    serves = len(str(usual)) <= LONGEST_TEMPORARY and usual.is_dir() and os.access(usual, os.W_OK | os.X_OK)
    return usual if serves else Path("/tmp")
