"""The command line that every sweep script shares: its flags are the fields of `SweepConfig`."""

import logging
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import ray
import tyro

from orchestrator.driver.sweep import SWEEP_FILE, TRACKING_DIRECTORY, UNFINISHED, Outcome, claim, prepare, run
from orchestrator.errors import UserError
from orchestrator.figures.command import PAGE
from orchestrator.grid.config import SweepConfig
from orchestrator.grid.hardware import Hardware, detect
from orchestrator.language_models.loading import fingerprint

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Preset = Literal["auto", "laptop", "paper"]

STARTED_CLUSTER = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` leaves the address of the cluster it made."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Command(SweepConfig):
    """A sweep script's flags: the sweep, and what to do with it."""

    preset: Preset = "auto"
    """Where values not given come from; auto takes paper where there are GPUs and laptop elsewhere."""
    plan: bool = False
    """Print the trials and what they would cost, and run nothing."""
    resume: str | None = None
    """Name of an interrupted sweep under `storage` to continue."""

    def __post_init__(self) -> None:
        """Checked by `sweep`, whose one line is kinder than the parser's frame around it."""

    def sweep(self) -> SweepConfig:
        """The sweep alone. Raises UserError."""
        return SweepConfig(**{field.name: getattr(self, field.name) for field in fields(SweepConfig)})


@dataclass(frozen=True, kw_only=True)
class Start:
    """The flags that decide what the others' defaults are."""

    preset: Preset = "auto"
    resume: str | None = None
    storage: Path = SweepConfig.storage


def main(
    description: str, experiment: str, presets: Mapping[str, SweepConfig], argv: Sequence[str] | None = None
) -> int:
    """Run a sweep script; returns its exit status."""
    return exit_status(lambda: _main(description, experiment, presets, sys.argv[1:] if argv is None else argv))


def exit_status(script: Callable[[], int]) -> int:
    """What a sweep script exits with: 0 done, 1 some trials failed, 2 the user's mistake, 130 interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    for noisy in ("ray", "httpx", "datasets", "alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        return script()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; a sweep that had begun is kept, continue it with --storage DIR --resume NAME\n")
        return 130


def _main(description: str, experiment: str, presets: Mapping[str, SweepConfig], argv: Sequence[str]) -> int:
    start, _ = tyro.cli(Start, args=argv, return_unknown_args=True, add_help=False)
    connected = _connect()
    try:
        hardware = detect(connected)
        saved = _saved(start) if start.resume else _preset(start.preset, presets, hardware)
        command = tyro.cli(Command, args=argv, description=description, default=Command(**vars(saved)))
        cfg = command.sweep()
        if command.resume:
            check_unchanged(saved, cfg)
        elif cfg.name is None:
            cfg = replace(cfg, name=f"{experiment}-{time.strftime('%Y%m%d-%H%M%S')}")
        prepared = prepare(cfg, hardware)
        sys.stdout.write(prepared.plan.describe() + "\n")
        if command.plan:
            return 0
        directory = cfg.storage / command.resume if command.resume else claim(cfg)
        if not connected:
            _start_ray(hardware)
        with nullcontext() if command.resume else given_back(directory):
            outcome = run(prepared, directory, experiment)
    finally:
        ray.shutdown()
    return _say(outcome, cfg, directory)


@contextmanager
def given_back(directory: Path) -> Iterator[None]:
    """Give the name this process claimed back where a mistake shows before any trial was set up."""
    try:
        yield
    except UserError:
        if not (directory / TRACKING_DIRECTORY).exists():
            shutil.rmtree(directory)
        raise


def _connect() -> bool:
    """Join the Ray cluster that RAY_ADDRESS names or that `ray start` made here; False where there is none.

    The private Ray of another sweep is left alone, though `address="auto"` would find it.
    """
    given = os.environ.get("RAY_ADDRESS")
    address = given or (STARTED_CLUSTER.read_text().strip() if STARTED_CLUSTER.is_file() else "local")
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


def _start_ray(hardware: Hardware) -> None:
    ray.init(
        address="local", num_cpus=hardware.cpus, num_gpus=hardware.gpus, include_dashboard=False,
        log_to_driver=False, logging_level=logging.WARNING,
    )  # fmt: skip


def _preset(name: str, presets: Mapping[str, SweepConfig], hardware: Hardware) -> SweepConfig:
    if name == "auto":
        name, reason = "laptop", hardware.describe()
        if hardware.gpus:
            try:
                name, _ = "paper", [fingerprint(model) for model in presets["paper"].model]
            except UserError as error:
                reason += f", where {error}"
        log.info("preset auto: taking %s, for %s", name, reason)
    return presets[name]


def _saved(start: Start) -> SweepConfig:
    return replace(SweepConfig.from_json(saved_file(start).read_text()), storage=start.storage)


def saved_file(start: Start) -> Path:
    """The config of the sweep to resume. Raises UserError where there is none."""
    path = start.storage / str(start.resume) / SWEEP_FILE
    if not path.is_file():
        there = sorted(found.parent.name for found in start.storage.glob(f"*/{SWEEP_FILE}"))
        raise UserError(f"resume {start.resume!r}: not in {start.storage}; there are {', '.join(there) or 'none'}")
    return path


def check_unchanged(saved: "DataclassInstance", cfg: "DataclassInstance") -> None:
    """A resumed sweep must be the one that was started. Raises UserError naming what differs."""
    for field in fields(saved):
        if field.name not in ("tracking_uri", "storage") and getattr(saved, field.name) != getattr(cfg, field.name):
            raise UserError(
                f"{field.name} {getattr(cfg, field.name)}: cannot change on --resume, "
                f"the sweep has {getattr(saved, field.name)}"
            )


def _say(outcome: Outcome, cfg: SweepConfig, directory: Path) -> int:
    again = f"--storage {cfg.storage} --resume {cfg.name}"
    lines = [
        "",
        outcome.table,
        "",
        f"shards: {outcome.counters['shards_computed']} computed, {outcome.counters['shards_from_disk']} from disk, "
        f"{outcome.counters['shards_hits']} hits, {outcome.counters['shards_evictions']} evictions",
        f"sweep:   {directory}",
    ]
    if outcome.figures:
        lines.append(f"figures: {outcome.figures / PAGE}")
    if outcome.comparison_url:
        lines.append(f"compare in MLflow (start it with `make ui`): {outcome.comparison_url}")
    if outcome.unsent:
        lines.append(f"{outcome.unsent} entries wait for MLflow; {again} sends them")
    lines += [f"failed: {name}: {reason.splitlines()[-1]}" for name, reason in outcome.failed.items()]
    if UNFINISHED in outcome.failed.values():
        lines.append(f"what was done is kept; continue with {again}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if outcome.failed else 0
