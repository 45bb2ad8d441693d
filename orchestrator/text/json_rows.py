"""Rows of JSON: one object a line, or one list of objects, which is parsed as it is read."""

import json
import re
from collections.abc import Iterable, Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from orchestrator.text.rows import BadRow, MissingColumn, Rows, check_utf8

# What stands in other columns must not fail us: numbers too long for `int`, control characters in strings.
_DECODER = json.JSONDecoder(parse_int=float, strict=False)
_CHUNK = 1 << 20
_BETWEEN = re.compile(r"[\s,]*")
_LONGEST_TOKEN = 16  # characters from the start of a literal or an escape to where it is known to be wrong
_ROWS_WITHOUT = 1000  # the column, after which it is taken to be missing

_Parsed = Iterable[tuple[int, Any, bool]]
"""The number of a row, the row, and whether surrogates in it may be bytes that are not UTF-8."""


def json_lines(file: BinaryIO, column: str, path: Path) -> Rows:
    """The column of each line that is not empty."""
    return _column(_parsed_lines(file), column, path)


def json_values(file: TextIO, column: str, path: Path) -> Rows:
    """The column of each object of a list, or of objects or lists one after the other.

    Strings count as the column `text`. `file` was opened with `surrogateescape`.
    """
    return _column(_parsed_values(file), column, path)


def _column(rows: _Parsed, column: str, path: Path) -> Rows:
    found, others = False, dict[str, None]()
    for number, row, suspect in rows:
        if not isinstance(row, dict):
            raise BadRow(number, f"not an object with columns, but {json.dumps(row)[:40]}")
        if column in row:
            found = True
            if suspect and isinstance(row[column], str):
                check_utf8(number, row[column])
            yield number, row[column]
        elif not found:
            others |= dict.fromkeys(row)
            if number >= _ROWS_WITHOUT:
                break
    if others and not found:
        raise MissingColumn(path, others)


def _parsed_lines(file: BinaryIO) -> Iterator[tuple[int, Any, bool]]:
    for number, line in enumerate(file, 1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").strip()
        suspect = not _is_utf8(line)
        if text:
            try:
                row, end = _DECODER.raw_decode(text)
                if end < len(text):
                    raise JSONDecodeError("more after the object", text, end)
            except JSONDecodeError as error:
                raise _not_json(number, text, error, suspect) from error
            yield number, row, suspect


def _parsed_values(file: TextIO) -> Iterator[tuple[int, Any, bool]]:
    buffer = file.read(_CHUNK)
    at, in_list, number, suspect = 0, False, 0, not _is_utf8(buffer)
    while True:
        between = _BETWEEN.match(buffer, at)
        at = between.end() if between else at
        if buffer.startswith("]" if in_list else "[", at):  # lists one after the other are read like one
            at, in_list = at + 1, not in_list
            continue
        try:
            row, at = _DECODER.raw_decode(buffer, at)
        except JSONDecodeError as error:
            more = file.read(max(_CHUNK, len(buffer) - at)) if _may_be_cut(error, buffer) else ""
            if not more and at == len(buffer) and not in_list:
                return
            if not more:
                hint = "; is the file cut short?" if _may_be_cut(error, buffer) else ""
                raise _not_json(number + 1, buffer[at:], error, suspect, hint) from error
        else:
            number += 1
            yield number, {"text": row} if isinstance(row, str) else row, suspect
            continue
        buffer, at = buffer[at:] + more, 0
        suspect = suspect or not _is_utf8(more)


def _may_be_cut(problem: JSONDecodeError, buffer: str) -> bool:
    """Whether more text could mend it: a string without end, or a problem at the very end."""
    return problem.msg.startswith("Unterminated string") or problem.pos >= len(buffer) - _LONGEST_TOKEN


def _not_json(number: int, text: str, error: JSONDecodeError, suspect: bool, hint: str = "") -> BadRow:
    if suspect:
        try:
            check_utf8(number, text)
        except BadRow as problem:
            return problem
    return BadRow(number, f"not a JSON object ({error.msg.removesuffix(' starting at')}){hint}")


def _is_utf8(data: bytes | str) -> bool:
    try:
        data.decode() if isinstance(data, bytes) else data.encode()
    except UnicodeError:
        return False
    return True
