"""The command that puts sweeps beside each other, from MLflow alone."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from orchestrator.command_line.read import read, reader_may_leave
from orchestrator.comparison.as_csv import as_csv
from orchestrator.comparison.as_latex import as_latex
from orchestrator.comparison.as_markdown import as_markdown
from orchestrator.comparison.as_text import as_text
from orchestrator.comparison.report import Report, report_on
from orchestrator.errors import UserError
from orchestrator.grid.base_config import BaseConfig
from orchestrator.redaction import mistake_line
from orchestrator.storage.address import home_of
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.reader import read_sweeps

FORMATS: dict[str, Callable[[Report], str]] = {
    "text": as_text, "markdown": as_markdown, "csv": as_csv, "latex": as_latex,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Command:
    """Put sweeps beside each other: what differs between them, what they measured, and who is lowest where."""

    run: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Names of sweeps, of which the newest is taken, or ids of their parent runs; one is shown by itself."""
    format: Literal["text", "markdown", "csv", "latex"] = "text"
    """What is written to standard output; LaTeX needs its package booktabs."""
    storage: Path = BaseConfig.storage
    """Directory with the SQLite store."""
    tracking_uri: str | None = None
    """MLflow server; the SQLite store under `storage` unless given."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 the user's mistake."""
    try:
        words = sys.argv[1:] if argv is None else argv
        command = read(Command, words, str(Command.__doc__), prog="python -m orchestrator.comparison")
        uri = command.tracking_uri or default_uri(home_of(command.storage))
        written = FORMATS[command.format](report_on(read_sweeps(uri, command.run, curves=False)))
    except UserError as error:
        sys.stderr.write(mistake_line(error))
        return 2
    with reader_may_leave():
        sys.stdout.write(written)
    return 0
