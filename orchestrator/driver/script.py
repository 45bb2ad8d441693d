"""The command line that all sweep scripts share: flags from the fields of a config, presets, --resume, exit status."""

import errno
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import tyro

from orchestrator.command_line.read import read
from orchestrator.command_line.words import asks_for_help, check_words
from orchestrator.driver.claims import saved_config
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.logs import be_quiet, set_up_logging
from orchestrator.errors import UserError
from orchestrator.grid.base_config import BaseConfig, check_tracking_uri
from orchestrator.redaction import mistake_line, redact

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Preset = Literal["auto", "laptop", "paper"]
C = TypeVar("C", bound=BaseConfig)


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What to do with a sweep. A script's command line is a class made of these and of its config, in this order."""

    preset: Preset = "auto"
    """Where values not given come from; auto takes paper where there are GPUs and laptop elsewhere."""
    plan: bool = False
    """Print the trials and what they would cost, and run nothing."""
    resume: str | None = None
    """Name of an interrupted sweep under `storage` to continue."""
    quiet: bool = False
    """Say nothing but warnings, errors and the outcome."""

    def __post_init__(self) -> None:
        """The config is checked by `read_command_line`, whose one line is kinder than the parser's frame around it."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """The flags that decide what the others' defaults are."""

    preset: Preset = "auto"
    resume: str | None = None
    quiet: bool = False
    storage: Path = BaseConfig.storage


@dataclass(frozen=True)
class Request(Generic[C]):
    """What was asked for on the command line."""

    cfg: C
    plan: bool
    resume: str | None
    quiet: bool


def read_command_line(
    argv: Sequence[str],
    config: type[C],
    flags: type[Flags],
    preset: Callable[[Preset], C],
    description: str,
    experiment: str,
) -> Request[C]:
    """Read the flags of a script, for which `flags` has those of `config` too. Raises UserError.

    Values not given come from `preset(name)`, or on --resume from the sweep, which must stay as it was.
    """
    start = _start(argv, flags)
    if start.quiet:
        be_quiet()
    if start.resume is not None:
        if start.preset != "auto":
            raise UserError(f"preset {start.preset!r}: cannot be given with --resume, the sweep keeps its own values")
        saved = replace(config.from_json(saved_config(start.storage, start.resume)), storage=start.storage)
    else:
        saved = preset(start.preset)
    command = read(flags, argv, description, flags(**vars(saved)))
    cfg = config(**{field.name: getattr(command, field.name) for field in fields(config)})
    if cfg.tracking_uri is None and (exported := os.environ.get("MLFLOW_TRACKING_URI")):
        check_tracking_uri("MLFLOW_TRACKING_URI", exported)
    if command.resume:
        _check_unchanged(saved, cfg)
    elif cfg.name is None:
        cfg = replace(cfg, name=f"{experiment}-{time.strftime('%Y%m%d-%H%M%S')}")
    return Request(cfg, command.plan, command.resume, command.quiet)


def _start(argv: Sequence[str], flags: type[Flags]) -> Start:
    """What decides the defaults. Where --help was asked for, no mistake stands in its way."""
    try:
        check_words(argv, flags)
    except UserError:
        if not asks_for_help(argv):
            raise
        return Start()
    start, _ = tyro.cli(Start, args=argv, return_unknown_args=True, add_help=False)
    return replace(start, resume=None) if asks_for_help(argv) else start


def _check_unchanged(saved: BaseConfig, cfg: BaseConfig) -> None:
    """A resumed sweep must be the one that was started. Raises UserError naming what differs."""
    for field in fields(saved):
        if field.name not in ("tracking_uri", "storage") and getattr(saved, field.name) != getattr(cfg, field.name):
            raise UserError(
                f"{field.name} {getattr(cfg, field.name)}: cannot change on --resume, "
                f"the sweep has {getattr(saved, field.name)}"
            )


def exit_status(script: Callable[[Interruption], int]) -> int:
    """What a sweep script exits with: 0 done, 1 some trials failed, 2 the user's mistake, 130 or 143 interrupted."""
    set_up_logging()
    if sys.stdout is None:  # closed, as `>&-` does: what is printed is in files too
        sys.stdout = io.StringIO()
    for output in (sys.stdout, sys.stderr):  # an encoding without some letter of a name stops nothing
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")
    if any(action == "error" for action, *_ in warnings.filters):  # PYTHONWARNINGS=error: what others warn of ends us
        warnings.simplefilter("default")
    interruption = Interruption()
    try:
        with interruption.handled():
            return script(interruption)
    except UserError as error:
        sys.stderr.write(mistake_line(error))
        return 2
    except OSError as error:
        if error.errno is None:  # not the operating system's
            raise
        said = f"{error.strerror}" + (f" ({error.filename})" if error.filename else "")
        if error.errno in NO_ROOM:
            said = f"cannot write: {said}; free some room and try again"
        _say(f"error: {said}")
        return 2
    except KeyboardInterrupt as error:
        _say(f"interrupted; {str(error) or 'nothing had begun'}")
        return interruption.exit_status


def _say(line: str) -> None:
    """Libraries put addresses and headers with keys into their errors."""
    sys.stderr.write(f"{redact(line)}\n")
