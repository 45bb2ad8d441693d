"""Whose a sweep's directory is: its name claimed, given back or found again, and one process at a time inside."""

import errno
import fcntl
import json
import logging
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

from orchestrator.driver.printed_commands import resume_command
from orchestrator.driver.ray_session import LostRay
from orchestrator.errors import UserError, did_you_mean, one_line
from orchestrator.grid.base_config import BaseConfig, check_text
from orchestrator.names import cut
from orchestrator.storage.address import home_of, spelt
from orchestrator.storage.copies import pull
from orchestrator.storage.identity import IDENTITY_FILE, new_identity
from orchestrator.storage.remote import Remote, remote_of
from orchestrator.tracking.journal import JOURNAL_FILE
from orchestrator.trials.results import CHECKPOINT_PREFIX, CODER_DIRECTORY, TRIALS_DIRECTORY

SWEEP_FILE = "sweep.json"
TRACKING_DIRECTORY = "tracking"
LOCK_FILE = ".lock"
NO_SWEEP = "it is no sweep; take another"

log = logging.getLogger(__name__)


@contextmanager
def directory_of(cfg: BaseConfig, resume: str | None) -> Iterator[Path]:
    """The directory of the sweep to `resume`, or a new one, given back where it ends before a trial was set up.

    Raises UserError where a new one cannot be claimed; a KeyboardInterrupt leaves with the command to go on with.
    """
    claim = None if resume else _Claim(cfg)
    directory = home_of(cfg.storage) / (resume or str(cfg.name))
    try:
        if claim is not None:
            claim.take()
        yield directory
    except BaseException as error:
        if claim is not None and not (claim.is_ours() and (directory / TRACKING_DIRECTORY).exists()):
            claim.give_back()
        elif isinstance(error, (KeyboardInterrupt, LostRay)):
            kept = f"what was done is kept; continue with {resume_command(cfg)}"
            raise type(error)(f"{error}; {kept}" if isinstance(error, LostRay) else kept) from None
        else:
            log.error("what was done is kept; continue with %s", resume_command(cfg))
        raise


class _Claim:
    """The directory of a new sweep, made under another name, so that it has its own only with what belongs into it.

    A signal may come between any two steps: what was made is known by what was noted before, and given back.
    """

    def __init__(self, cfg: BaseConfig) -> None:
        self.cfg, self.name, self.remote = cfg, str(cfg.name), remote_of(cfg.storage)
        home = home_of(cfg.storage)
        self.directory, self._draft = home / self.name, home / cut(f".{secrets.token_hex(8)}.{self.name}")
        self._identity: int | None = None
        self._sent = False

    def take(self) -> None:
        """Create it. Raises UserError where it exists or a directory cannot be written."""
        _check_directories(self.cfg)
        try:
            if self.remote is not None and _there(self.remote, self.cfg, f"{self.name}/{SWEEP_FILE}"):
                raise FileExistsError
            if self.directory.exists():
                raise FileExistsError
            self._draft.mkdir()
            self._identity = self._draft.stat().st_ino
            if self.remote is not None:
                (self._draft / IDENTITY_FILE).write_text(new_identity(), encoding="utf-8")
            content = json.dumps(self.cfg.to_json(), indent=2) + "\n"
            (self._draft / SWEEP_FILE).write_text(content, encoding="utf-8")
            self._draft.rename(self.directory)  # of several that want the name, one gets it
        except OSError as error:
            if not isinstance(error, FileExistsError) and error.errno != errno.ENOTEMPTY:
                where = f"name {self.name!r}: cannot be a directory in {home_of(self.cfg.storage)}"
                raise UserError(f"{where} ({error.strerror})") from None
            ours = (self.directory / SWEEP_FILE).is_file() or self.remote is not None
            more = f"take another, or continue it with {resume_command(self.cfg)}" if ours else NO_SWEEP
            raise UserError(f"name {self.name!r}: exists in {spelt(self.cfg.storage)}; {more}") from None
        self._send()

    def is_ours(self) -> bool:
        """Whether the directory is there, and the one that was made here."""
        try:
            return self.directory.stat().st_ino == self._identity
        except OSError:
            return False

    def give_back(self) -> None:
        """Leave nothing, so that the name is free; what is another's stays, and a storage whose copy here is gone."""
        shutil.rmtree(self._draft, ignore_errors=True)
        if not self.is_ours():
            return
        if self._sent and self.remote is not None:
            with suppress(OSError):  # it could not be written, or cannot be reached
                self.remote.below(self.name).remove()
        shutil.rmtree(self.directory)

    def _send(self) -> None:
        if self.remote is None:
            return
        self._sent = True
        try:
            for file in (IDENTITY_FILE, SWEEP_FILE):  # the one that makes it a sweep comes last
                self.remote.put(self.directory / file, f"{self.name}/{file}")
        except OSError as error:
            place = spelt(self.cfg.storage)
            raise UserError(f"storage {place!r}: cannot be written ({one_line(error)})") from None


def _check_directories(cfg: BaseConfig) -> None:
    """Those that a config names must be there to write into, or be made. Raises UserError."""
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
        there = sorted(found.parent.name for found in home_of(storage).glob(f"[!.]*/{SWEEP_FILE}"))
        raise UserError(
            f"resume {name!r}: not in {spelt(storage)}, where there are {', '.join(there) or 'none'}; "
            f"{did_you_mean(name, there)}a sweep that is elsewhere needs --storage DIR"
        )
    return path.read_bytes()


def _bring(remote: Remote, storage: Path, name: str) -> None:
    """Copy a sweep here but for the checkpoints of trials, which those fetch themselves. Raises UserError.

    While a process here has the sweep nothing is copied: what is here is the newest then.
    """
    directory, there = home_of(storage) / name, remote.below(name)
    try:
        if not (sizes := there.sizes()):
            return
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory):
            _make_room(directory, there, sizes)
            _pull(directory, there, sizes)
    except _RunningAlready:
        if not (directory / SWEEP_FILE).is_file():  # another process copies it just now
            raise
    except OSError as error:
        raise UserError(f"storage {spelt(storage)!r}: cannot be read ({one_line(error)})") from None


def _make_room(directory: Path, there: Remote, sizes: Mapping[str, int]) -> None:
    """Remove the copy of another sweep, which had this name before the one that is there."""
    identity = directory / IDENTITY_FILE
    same = (
        there.begins(IDENTITY_FILE, identity)
        if IDENTITY_FILE in sizes and identity.is_file()
        else (IDENTITY_FILE in sizes) == identity.is_file()
    )
    if same or not (directory / SWEEP_FILE).is_file():
        return
    log.warning("%s is of another sweep of this name, which its storage has no more; it is replaced", directory)
    for path in list(directory.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK_FILE:
            path.unlink()


def _pull(directory: Path, there: Remote, sizes: Mapping[str, int]) -> None:
    coders = re.compile(f"{TRIALS_DIRECTORY}/[^/]+/{CODER_DIRECTORY}/")
    newest = _is_newest(directory, there, sizes)

    def left_out(file: str) -> bool:
        kept = newest and not file.startswith(f"{TRIALS_DIRECTORY}/") and (directory / file).is_file()
        return kept or f"/{CHECKPOINT_PREFIX}" in file

    pull(there, directory, left_out, may_differ=lambda file: not coders.match(file))


def _is_newest(directory: Path, there: Remote, sizes: Mapping[str, int]) -> bool:
    """Whether the driver's files here are as new as those there, or newer: a killed driver's last ones never got there.

    Its journal says so, which only grows. Its state, which says how far the journal was delivered, goes with it.
    """
    name = f"{TRACKING_DIRECTORY}/{JOURNAL_FILE}"
    journal = directory / name
    return journal.is_file() and (name not in sizes or there.begins(name, journal))


class _RunningAlready(UserError):
    pass


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the sweep for this process; the lock goes with it. Raises UserError where another has it, or none can be."""
    with (directory / LOCK_FILE).open("wb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _RunningAlready(f"name {directory.name!r}: this sweep is running already") from None
        except OSError as error:
            raise UserError(
                f"name {directory.name!r}: cannot be locked in {directory.parent} ({error.strerror})"
            ) from None
        yield
