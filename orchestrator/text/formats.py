"""One file as rows, by format: only the asked column of each, one after the other.

A reader yields the number of a row and what the column holds there, None where the row has nothing. What is wrong with
a row is raised as BadRow, what is wrong with the file as whatever its library raises: `reading.py` words both.
"""

import csv
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.text.json_rows import json_lines, json_values
from orchestrator.text.rows import BadRow, MissingColumn, Rows, check_utf8, not_utf8

_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_ROWS = 64  # at once, so that a few long documents are in memory, not thousands
_PLAIN_COLUMN = "text"


@dataclass(frozen=True)
class Format:
    """How the files of an ending are read."""

    read: Callable[[Path, str], Rows]
    counts: str
    """What the numbers count."""
    compresses: bool = True
    """Whether the ending of a compression may follow."""


def ending_of(path: Path) -> str | None:
    """The ending in FORMATS that tells how to read the file, whatever its case or compression; None if none does."""
    name = Path(path.name.lower())
    if name.suffix in _COMPRESSED:
        inner = FORMATS.get(Path(name.stem).suffix)
        return Path(name.stem).suffix if inner and inner.compresses else None
    return name.suffix if name.suffix in FORMATS else None


def is_text(kind: Any) -> bool:
    """Whether values of an Arrow type are strings, or nothing at all."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return str(kind) in ("string", "large_string", "string_view", "null")


def whole_file(path: Path, column: str) -> Rows:
    """A text file as one document."""
    _check_plain(path, column)
    with _characters(path) as file:
        yield 1, "".join(line for _, line in _lines(file))


def _paragraphs(path: Path, column: str) -> Rows:
    """A text file as documents that an empty line ends, as `str.split("\\n\\n")` cuts; they count from their ends."""
    _check_plain(path, column)
    number, lines = 0, list[str]()
    with _characters(path) as file:
        for number, line in _lines(file):
            if lines and not line.strip(" \t\n") and line.endswith("\n"):
                yield number, "".join(lines)[:-1]
                lines = []
            else:
                lines.append(line if line.strip(" \t\n") else line.strip(" \t"))
    yield number, "".join(lines)


def _csv(path: Path, column: str) -> Rows:
    csv.field_size_limit(sys.maxsize)  # documents are longer than the 128 KB of its default
    with _characters(path) as file:
        rows = csv.reader(file, strict=True)
        try:
            filled = filter(None, rows)
            header = next(filled, [column])
            if column not in header:
                check_utf8(rows.line_num, "".join(header))
            at = _position(header, column, path)
            for row in filled:
                if len(row) != len(header):
                    many = f"{len(row)} fields, and the first line names {len(header)}"
                    raise BadRow(rows.line_num, f"{many}; a text with commas needs quotes around it")
                check_utf8(rows.line_num, row[at])
                yield rows.line_num, row[at]
        except csv.Error as error:
            raise BadRow(rows.line_num, f"not CSV ({error}); is a quote before it not closed?") from error


def _parquet(path: Path, column: str) -> Rows:
    with path.open("rb") as source, pq.ParquetFile(source) as file:
        _check_type(file.schema_arrow, column, path)
        number = 0
        for batch in file.iter_batches(_ROWS, columns=[column]):
            yield from _cells(batch.column(0), number)
            number += len(batch)


def _arrow(path: Path, column: str) -> Rows:
    with pa.memory_map(os.fsencode(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        options = pa.ipc.IpcReadOptions(included_fields=[_check_type(reader.schema, column, path)])
        source.seek(0)
        reader = pa.ipc.open_file(source, options=options) if is_file else pa.ipc.open_stream(source, options=options)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if is_file else reader
        number = 0
        for batch in batches:
            for start in range(0, len(batch), _ROWS):
                yield from _cells(batch.column(0).slice(start, _ROWS), number + start)
            number += len(batch)


def _json_lines(path: Path, column: str) -> Rows:
    with _data(path) as file:
        yield from json_lines(file, column, path)


def _json(path: Path, column: str) -> Rows:
    with _characters(path) as file:
        yield from json_values(file, column, path)


FORMATS = {
    ".parquet": Format(_parquet, "row", compresses=False),
    ".jsonl": Format(_json_lines, "line"),
    ".json": Format(_json, "row"),
    ".csv": Format(_csv, "line"),
    ".arrow": Format(_arrow, "row", compresses=False),
    ".txt": Format(_paragraphs, "line"),
}
"""How files are read, by their ending in lower case."""

ENDINGS = f"{', '.join(FORMATS)}; all but .parquet and .arrow also with {', '.join(_COMPRESSED)} after it"
"""The endings that a file may have, in words."""


def _data(path: Path) -> BinaryIO:
    codec = _COMPRESSED.get(path.suffix.lower())
    if codec is None:
        return path.open("rb")
    return io.BufferedReader(pa.CompressedInputStream(path.open("rb"), codec))


def _characters(path: Path) -> TextIO:
    """The file decoded; bytes that are not UTF-8 are kept apart as lone surrogates, to be found where they matter."""
    newline = "" if ending_of(path) == ".csv" else None
    return io.TextIOWrapper(_data(path), encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _lines(file: TextIO) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, 1):
        check_utf8(number, line)
        if "\0" in line:  # English in UTF-16 is UTF-8 too, with a NUL after each letter
            raise BadRow(number, "has NUL characters; is it UTF-16? iconv -f utf-16 -t utf-8 makes it readable")
        yield number, line


def _cells(cells: Any, before: int) -> Rows:
    """The values of an Arrow array of strings whose first row comes after `before` others."""
    for number, cell in enumerate(cells, before + 1):
        try:
            yield number, cell.as_py()
        except UnicodeDecodeError as error:
            raise BadRow(number, not_utf8(error.object[error.start])) from error


def _check_type(schema: Any, column: str, path: Path) -> int:
    """Where in the schema the column is. Raises MissingColumn for what is not text."""
    at = _position(schema.names, column, path)
    if not is_text(schema.field(at).type):
        raise MissingColumn(path, schema.names, "not a column of text in")
    return at


def _position(names: list[str], column: str, path: Path) -> int:
    if names.count(column) > 1:
        raise MissingColumn(path, names, "several columns of")
    if column not in names:
        raise MissingColumn(path, names)
    return names.index(column)


def _check_plain(path: Path, column: str) -> None:
    if column != _PLAIN_COLUMN:
        raise MissingColumn(path, [_PLAIN_COLUMN])
