"""What the readers of all formats share: rows, and what can be wrong with one."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Rows = Iterator[tuple[int, Any]]
"""The number of a row, and what the asked column holds there."""


class BadRow(ValueError):
    """A row that cannot be read."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


class MissingColumn(ValueError):
    """A file without the asked column, or without text in it."""

    def __init__(self, path: Path, columns: Iterable[str], problem: str = "not a column of") -> None:
        super().__init__(problem)
        self.path = path
        self.columns = list(columns)


def not_utf8(byte: int) -> str:
    """What to say of a byte."""
    guess = "utf-16" if byte in (0xFE, 0xFF) else "latin1"
    return f"byte 0x{byte:02x} is not UTF-8; convert the file, `iconv -f {guess} -t utf-8` for instance"


def check_utf8(number: int, text: str) -> None:
    """Raise BadRow if bytes that are not UTF-8 were decoded with `surrogateescape`."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRow(number, not_utf8(ord(text[error.start]) & 0xFF)) from error
