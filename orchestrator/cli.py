"""The command line that every sweep script shares: its flags are the fields of `SweepConfig`."""

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import ray
import tyro

from orchestrator.config import SweepConfig
from orchestrator.errors import UserError
from orchestrator.hardware import Hardware, detect
from orchestrator.sweep import SWEEP_FILE, UNFINISHED, Outcome, claim, prepare, run

Preset = Literal["auto", "laptop", "paper"]

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
class _Start:
    """The flags that decide what the others' defaults are."""

    preset: Preset = "auto"
    resume: str | None = None
    storage: Path = SweepConfig.storage


def main(
    description: str, experiment: str, presets: Mapping[str, SweepConfig], argv: Sequence[str] | None = None
) -> int:
    """Run a sweep script; returns its exit status: 0 done, 1 some trials failed, 2 the user's mistake."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    for noisy in ("ray", "httpx", "datasets", "alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        return _main(description, experiment, presets, sys.argv[1:] if argv is None else argv)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; a sweep that had begun is kept, continue it with --resume NAME\n")
        return 130


def _main(description: str, experiment: str, presets: Mapping[str, SweepConfig], argv: Sequence[str]) -> int:
    start, _ = tyro.cli(_Start, args=argv, return_unknown_args=True, add_help=False)
    connected = _connect()
    try:
        hardware = detect(connected)
        saved = _saved(start) if start.resume else _preset(start.preset, presets, hardware)
        command = tyro.cli(Command, args=argv, description=description, default=Command(**vars(saved)))
        cfg = command.sweep()
        if command.resume:
            _check_unchanged(saved, cfg)
        elif cfg.name is None:
            cfg = replace(cfg, name=f"{experiment}-{time.strftime('%Y%m%d-%H%M%S')}")
        prepared = prepare(cfg, hardware)
        log.info("%s", prepared.plan.describe())
        if command.plan:
            return 0
        directory = cfg.storage / command.resume if command.resume else claim(cfg)
        if not connected:
            _start_ray(hardware)
        outcome = run(prepared, directory, experiment)
    finally:
        ray.shutdown()
    return _say(outcome, cfg, directory)


def _connect() -> bool:
    """Join the Ray cluster that RAY_ADDRESS names or that was started on this machine; False where there is none."""
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError:
        if "RAY_ADDRESS" in os.environ:
            raise UserError(f"RAY_ADDRESS {os.environ['RAY_ADDRESS']!r}: no Ray cluster answers there") from None
        return False
    return True


def _start_ray(hardware: Hardware) -> None:
    ray.init(
        address="local", num_cpus=hardware.cpus, num_gpus=hardware.gpus, include_dashboard=False,
        log_to_driver=False, logging_level=logging.WARNING,
    )  # fmt: skip


def _preset(name: str, presets: Mapping[str, SweepConfig], hardware: Hardware) -> SweepConfig:
    if name == "auto":
        name = "paper" if hardware.gpus else "laptop"
        log.info("preset auto: taking %s, for %s", name, hardware.describe())
    return presets[name]


def _saved(start: _Start) -> SweepConfig:
    path = start.storage / str(start.resume) / SWEEP_FILE
    if not path.is_file():
        there = sorted(found.parent.name for found in start.storage.glob(f"*/{SWEEP_FILE}"))
        raise UserError(f"resume {start.resume!r}: not in {start.storage}; there are {', '.join(there) or 'none'}")
    return SweepConfig.from_json(path.read_text())


def _check_unchanged(saved: SweepConfig, cfg: SweepConfig) -> None:
    """A resumed sweep must be the one that was started."""
    for field in fields(SweepConfig):
        if field.name not in ("tracking_uri", "storage") and getattr(saved, field.name) != getattr(cfg, field.name):
            raise UserError(
                f"{field.name} {getattr(cfg, field.name)}: cannot change on --resume, "
                f"the sweep has {getattr(saved, field.name)}"
            )


def _say(outcome: Outcome, cfg: SweepConfig, directory: Path) -> int:
    lines = [
        "",
        outcome.table,
        "",
        f"shards: {outcome.counters['shards_computed']} computed, {outcome.counters['shards_from_disk']} from disk, "
        f"{outcome.counters['shards_hits']} hits, {outcome.counters['shards_evictions']} evictions",
        f"sweep:  {directory}",
        f"figure: {outcome.figure}",
    ]
    if outcome.comparison_url:
        lines.append(f"compare in MLflow (start it with `make ui`): {outcome.comparison_url}")
    if outcome.unsent:
        lines.append(f"{outcome.unsent} entries wait for MLflow; --resume {cfg.name} sends them")
    lines += [f"failed: {name}: {reason.splitlines()[-1]}" for name, reason in outcome.failed.items()]
    if UNFINISHED in outcome.failed.values():
        lines.append(f"what was done is kept; continue with --storage {cfg.storage} --resume {cfg.name}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if outcome.failed else 0
