"""The command that draws the figures of a sweep again, or of several together, from MLflow alone."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from orchestrator.command_line.read import read, reader_may_leave
from orchestrator.comparison.labels import labels
from orchestrator.comparison.points import by_rate, in_sweep
from orchestrator.errors import UserError
from orchestrator.figures.files import write_figures
from orchestrator.grid.base_config import BaseConfig
from orchestrator.names import cut, plain
from orchestrator.redaction import mistake_line
from orchestrator.storage.address import home_of
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.reader import TrackedSweep, read_sweeps
from orchestrator.tracking.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Command:
    """Draw the figures of a sweep again, or of several together, from what MLflow has of them."""

    run: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Name of a sweep, of which the newest is taken, or id of its parent run."""
    storage: Path = BaseConfig.storage
    """Directory with the SQLite store."""
    tracking_uri: str | None = None
    """MLflow server; the SQLite store under `storage` unless given."""
    out: Path | None = None
    """Directory for the files, which replace those of an earlier drawing; `figures/NAME-ID` unless given."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 the user's mistake."""
    try:
        words = sys.argv[1:] if argv is None else argv
        command = read(Command, words, str(Command.__doc__), prog="python -m orchestrator.figures")
        sweeps = read_sweeps(command.tracking_uri or default_uri(home_of(command.storage)), command.run)
        title = " and ".join(sweep.name for sweep in sweeps)
        # Two sweeps of one name do not overwrite each other's.
        place = cut(plain("-".join(f"{sweep.name}-{sweep.run_id[:8]}" for sweep in sweeps)))
        tags = sweeps[0].tags if len(sweeps) == 1 else {}
        written = write_figures(title, records_of(sweeps), command.out or Path("figures") / place, tags)
        if not written:
            raise UserError(f"run {title!r}: no trial has finished, so there is nothing to draw")
    except UserError as error:
        sys.stderr.write(mistake_line(error))
        return 2
    with reader_may_leave():
        for sweep in sweeps:
            newest = f", the newest of {sweep.namesakes + 1} with this name" if sweep.namesakes else ""
            sys.stdout.write(f"sweep {sweep.name}, run {sweep.run_id}{newest}\n")
        sys.stdout.writelines(f"{path}\n" for path in written)
    return 0


def records_of(sweeps: Sequence[TrackedSweep]) -> list[TrialRecord]:
    """The trials of all, their variants told apart by sweep where there are several."""
    if len(sweeps) == 1:
        return by_rate(sweeps[0].records)
    return [
        replace(record, variant=in_sweep(record.variant, label))
        for label, sweep in zip(labels(sweeps), sweeps, strict=True)
        for record in by_rate(sweep.records)
    ]
