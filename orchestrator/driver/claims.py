"""Whose a sweep's directory is: its name claimed, given back or found again, and one process at a time inside."""

import fcntl
import json
import logging
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from orchestrator.driver.printed_commands import resume_command
from orchestrator.driver.ray_session import LostRay
from orchestrator.errors import UserError, did_you_mean, one_line
from orchestrator.grid.base_config import BaseConfig, check_text
from orchestrator.storage.address import home_of, spelt
from orchestrator.storage.copies import pull
from orchestrator.storage.remote import Remote, remote_of
from orchestrator.trials.results import CHECKPOINT_PREFIX, CODER_DIRECTORY, TRIALS_DIRECTORY

SWEEP_FILE = "sweep.json"
TRACKING_DIRECTORY = "tracking"

log = logging.getLogger(__name__)


@contextmanager
def directory_of(cfg: BaseConfig, resume: str | None) -> Iterator[Path]:
    """The directory of the sweep to `resume`, or a new one, given back where it ends before a trial was set up.

    Raises UserError where a new one cannot be claimed; a KeyboardInterrupt leaves with the command to go on with.
    """
    directory = home_of(cfg.storage) / resume if resume else claim(cfg)
    try:
        yield directory
    except BaseException as error:
        if not resume and not (directory / TRACKING_DIRECTORY).exists():
            shutil.rmtree(directory)
            if (remote := remote_of(cfg.storage)) is not None:
                remote.below(directory.name).remove()
        elif isinstance(error, (KeyboardInterrupt, LostRay)):
            kept = f"what was done is kept; continue with {resume_command(cfg)}"
            raise type(error)(f"{error}; {kept}" if isinstance(error, LostRay) else kept) from None
        else:
            log.error("what was done is kept; continue with %s", resume_command(cfg))
        raise


def claim(cfg: BaseConfig) -> Path:
    """Create the sweep's directory. Raises UserError where it exists or a directory cannot be written."""
    for field in fields(cfg):
        if not isinstance(getattr(cfg, field.name), Path):
            continue
        wanted = home_of(getattr(cfg, field.name)) if field.name == "storage" else getattr(cfg, field.name)
        try:
            wanted.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{field.name} {str(wanted)!r}: cannot be a directory ({error.strerror})") from None
        if not os.access(wanted, os.W_OK):
            raise UserError(f"{field.name} {str(wanted)!r}: cannot be written")
    directory, remote = home_of(cfg.storage) / str(cfg.name), remote_of(cfg.storage)
    try:
        if remote is not None and _there(remote, cfg, f"{cfg.name}/{SWEEP_FILE}"):
            raise FileExistsError
        directory.mkdir()
    except FileExistsError:
        ours = (directory / SWEEP_FILE).is_file() or remote is not None
        more = f"take another, or continue it with {resume_command(cfg)}" if ours else "it is no sweep; take another"
        raise UserError(f"name {cfg.name!r}: exists in {spelt(cfg.storage)}; {more}") from None
    except OSError as error:
        raise UserError(
            f"name {cfg.name!r}: cannot be a directory in {home_of(cfg.storage)} ({error.strerror})"
        ) from None
    try:
        (directory / SWEEP_FILE).write_text(json.dumps(cfg.to_json(), indent=2) + "\n", encoding="utf-8")
        if remote is not None:
            remote.put(directory / SWEEP_FILE, f"{cfg.name}/{SWEEP_FILE}")
    except BaseException as error:  # a signal too: nothing has begun, and the name stays free
        shutil.rmtree(directory)
        if remote is None or not isinstance(error, OSError):
            raise
        raise UserError(f"storage {spelt(cfg.storage)!r}: cannot be written ({one_line(error)})") from None
    return directory


def _there(remote: Remote, cfg: BaseConfig, name: str) -> bool:
    """Whether a file is in the storage. Raises UserError where that does not answer."""
    try:
        return remote.has(name)
    except OSError as error:
        raise UserError(f"storage {spelt(cfg.storage)!r}: cannot be read ({one_line(error)})") from None


def saved_config(storage: Path, name: str) -> bytes:
    """What `claim` wrote for the sweep to resume, as it is on disk. Raises UserError where there is none.

    Of a storage that is an address, what is needed to go on is copied here first.
    """
    check_text("resume", name)
    found = Path(name)
    if found.name != name:
        if (place := found if (found / SWEEP_FILE).is_file() else storage / name).is_dir():
            where = shlex.join(["--storage", str(place.parent), "--resume", place.name])
            raise UserError(f"resume {name!r}: must be a name, not a path; type {where}")
        raise UserError(f"resume {name!r}: must be a name, not a path; its directory is named by --storage")
    remote = remote_of(storage)
    if remote is not None and name:
        _bring(remote, storage, name)
    path = home_of(storage) / name / SWEEP_FILE
    if not name or not os.path.isfile(path):  # noqa: PTH113 -- Path.is_file raises for a name that is too long
        there = sorted(found.parent.name for found in home_of(storage).glob(f"*/{SWEEP_FILE}"))
        raise UserError(
            f"resume {name!r}: not in {spelt(storage)}, where there are {', '.join(there) or 'none'}; "
            f"{did_you_mean(name, there)}a sweep that is elsewhere needs --storage DIR"
        )
    return path.read_bytes()


def _bring(remote: Remote, storage: Path, name: str) -> None:
    """Copy a sweep here but for the checkpoints of trials, which those fetch themselves. Raises UserError."""
    coders = re.compile(f"{TRIALS_DIRECTORY}/[^/]+/{CODER_DIRECTORY}/")
    try:
        pull(
            remote.below(name), home_of(storage) / name, lambda file: f"/{CHECKPOINT_PREFIX}" in file,
            may_differ=lambda file: not coders.match(file),
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"storage {spelt(storage)!r}: cannot be read ({one_line(error)})") from None


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the sweep for this process; the lock goes with it. Raises UserError where another has it."""
    with (directory / ".lock").open("wb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"name {directory.name!r}: this sweep is running already") from None
        yield
