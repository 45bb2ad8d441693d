"""What a person typed, held against the flags there are: a mistake is one line, where the parser would draw a box."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from orchestrator.errors import UserError


def check_arguments(argv: Sequence[str], flags: type[Any]) -> None:
    """Raises UserError for the first thing that the fields of the dataclass `flags` cannot be given."""
    if {"-h", "--help"} & set(argv):
        return
    kinds = {name: kind for name, kind in get_type_hints(flags).items() if name in flags.__dataclass_fields__}
    seen = set()
    for flag, values in _grouped(argv):
        name = flag.removeprefix("--").replace("-", "_")
        if kinds.get(name.removeprefix("no_")) is bool:
            name = name.removeprefix("no_")
        if name not in kinds or not flag.startswith("--"):
            raise UserError(_unknown(flag, [*kinds]))
        if name in seen:
            raise UserError(
                f"{name} {' '.join(values)}: {flag} is given twice; give it once{_example(kinds[name], flag)}"
            )
        seen.add(name)
        _check_values(name, flag, values, kinds[name])


def _grouped(argv: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with the words that follow it."""
    flag, values = "", list[str]()
    for word in argv:
        if word.startswith("-") and not _is_number(word):
            if flag:
                yield flag, values
            flag, *values = word.split("=", 1)
        elif flag:
            values.append(word)
        else:
            raise UserError(f"{word!r}: no flag before it; every value follows its flag, see --help")
    if flag:
        yield flag, values


def _check_values(name: str, flag: str, values: list[str], kind: Any) -> None:
    parts = set(get_args(kind)) if get_origin(kind) not in (tuple, Literal) else {kind}
    parts = parts or {kind}
    several = [part for part in parts if get_origin(part) is tuple]
    if kind is bool:
        if values:
            raise UserError(f"{name} {' '.join(values)!r}: takes no value; {flag} alone switches")
        return
    if not several and len(values) != 1:
        given = f"{' '.join(values)!r}: takes one value, quoted where it holds spaces" if values else ": needs a value"
        raise UserError(f"{name}{' ' if values else ''}{given}")
    wanted = get_args(several[0])[0] if several else next(part for part in parts if part is not NoneType)
    for value in values:
        if not (value == "None" and NoneType in parts) and (allowed := _not_a(wanted, value)):
            raise UserError(f"{name} {value!r}: must be {allowed}{_example(kind, flag)}")


def _not_a(wanted: Any, value: str) -> str:
    """What is allowed, where the value is not; empty where it is."""
    if get_origin(wanted) is Literal:
        return "" if value in get_args(wanted) else "one of " + ", ".join(get_args(wanted))
    if wanted is int:
        return "" if _is(int, value) else "a whole number"
    if wanted is float:
        return "" if _is(float, value) else "a number"
    if wanted is Path:
        return "" if value else "a path"
    return ""


def _example(kind: Any, flag: str) -> str:
    if get_origin(kind) is not tuple:
        return ""
    values = "16 64" if get_args(kind)[0] is int else "A B"
    return f"; several are separated by spaces, as in {flag} {values}"


def _unknown(flag: str, names: list[str]) -> str:
    flags = {name.replace("_", "-"): f"--{name.replace('_', '-')}" for name in names}
    close = difflib.get_close_matches(flag.lstrip("-").replace("_", "-").lower(), flags, 2, 0.5)
    hint = f"; did you mean {' or '.join(flags[name] for name in close)}?" if close else ""
    return f"{flag}: no such flag{hint}; all are in --help"


def _is_number(word: str) -> bool:
    return _is(float, word)


def _is(kind: Any, word: str) -> bool:
    try:
        kind(word)
    except ValueError:
        return False
    return True
