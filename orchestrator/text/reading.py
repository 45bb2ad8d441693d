"""The texts of local files, and the one line that says what is wrong with them and where."""

import csv
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.errors import UserError
from orchestrator.text.formats import FORMATS, ending_of, whole_file
from orchestrator.text.local_files import LocalText
from orchestrator.text.rows import BadRow, MissingColumn

READ_ERRORS: tuple[Any, ...] = (
    *(OSError, EOFError, ValueError, RecursionError, NotImplementedError), *(csv.Error, zlib.error, pa.ArrowException),
)  # fmt: skip
"""What opening and reading files can raise; pyarrow's own are mostly ValueErrors."""
_LFS_POINTER = b"version https://git-lfs"
_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = {bool: "true or false", float: "a number", list: "a list", dict: "an object"}


@contextmanager
def one_line(dataset: str) -> Iterator[None]:
    """Turn what looking at files raises into a UserError."""
    try:
        yield
    except UserError:
        raise
    except READ_ERRORS as error:
        file = getattr(error, "filename", None) or dataset
        where = "" if Path(file) == Path(dataset) else f"{str(file)[:200]!r}: "
        raise UserError(f"dataset {dataset!r}: {where}{in_words(error)}") from error


def local_texts(dataset: str, found: LocalText, column: str) -> Iterator[str]:
    """The texts of the files in order, empty ones left out. Raises UserError naming the file and the row."""
    for path in found.paths:
        yield from _texts(dataset, path, column, whole=found.whole)


def in_words(error: BaseException) -> str:
    """An exception's message in one line that is not too long."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:300] or type(error).__name__


def listed(names: Iterable[str]) -> str:
    """Names in one line that is not too long."""
    line = ", ".join(name if name.isprintable() and name == name.strip() else repr(name) for name in names)
    return line if len(line) <= 200 else f"{line[:200]}…"


def _texts(dataset: str, path: Path, column: str, *, whole: bool) -> Iterator[str]:
    form = FORMATS[ending_of(path) or ""]
    place = f"dataset {dataset!r}" + (f", {str(path)!r}" if path != Path(dataset) else "")
    number = 0
    try:
        _check_here(path)
        for number, value in (whole_file if whole else form.read)(path, column):
            if value is None or value == "":
                continue
            if not isinstance(value, str):
                kind = _KINDS.get(type(value), type(value).__name__)
                raise BadRow(number, f"text_column {column!r} holds {kind}, not text")
            # A JSON escape can be half a character, which no tokenizer takes.
            yield value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    except BadRow as error:
        raise UserError(": ".join([place, f"{form.counts} {error.number}", str(error)])) from error
    except MissingColumn as error:
        columns = listed(error.columns)
        raise UserError(f"text_column {column!r}: {error} {str(path)!r}, which has {columns}") from error
    except READ_ERRORS as error:
        last = [f"after {form.counts} {number}"] if number else []
        raise UserError(": ".join([place, *last, in_words(error)])) from error


def _check_here(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise BadRow(1, "this is Git LFS's pointer to the file, not the file; `git lfs pull` fetches it")
