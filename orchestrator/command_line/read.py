"""A command line read into a dataclass: `tyro` reads it, once nothing is wrong with its words."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any, NoReturn, TypeVar

import tyro

from orchestrator.command_line.words import asks_for_help, check_words
from orchestrator.errors import UserError

T = TypeVar("T")


def read(
    command: type[T], argv: Sequence[str], description: str, default: T | None = None, prog: str | None = None
) -> T:
    """The command as given by `argv`, other values being those of `default`.

    Raises UserError for a mistake, and SystemExit where --help was asked for and is printed.
    """
    about: dict[str, Any] = {"description": description, "prog": prog}
    if default is not None:
        about["default"] = default
    if asks_for_help(argv):
        _help(command, about)
    check_words(argv, command)
    try:
        with redirect_stderr(io.StringIO()):
            given: T = tyro.cli(command, args=argv, **about)
            return given
    except SystemExit:
        raise UserError(f"{' '.join(argv)!r}: cannot be read; --help says what each flag takes") from None


def _help(command: type, about: dict[str, Any]) -> NoReturn:
    with reader_may_leave():
        tyro.cli(command, args=["--help"], **about)
    raise SystemExit(0)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """What is written to standard output inside may be cut short by its reader, as by `| head`; that is no error."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What the buffer still holds would be tried again when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
