"""Whether a word can be a value of its flag, and what to type where it cannot."""

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.command_line.flags import Flag
from orchestrator.errors import UserError, did_you_mean, shown

_SEPARATORS = re.compile(r"[\s,;\[\]()]+")
_TOO_LARGE = 2**63
"""Whole numbers end here in everything that counts tokens: torch, Arrow, SQLite."""


def check_value(flag: Flag, word: str, given: Sequence[str]) -> None:
    """Raises UserError where the word is no value of the flag; `given` is all that was given to it."""
    if not word:
        otherwise = "" if flag.required else f", or leave {flag.option} out for the default"
        raise UserError(f"{flag.name} '': is empty; give a value{otherwise}")
    if flag.optional and word == "None":
        if flag.name == "resume":  # an empty variable of some script's; a new sweep is not what was meant
            raise UserError(f"{flag.name} 'None': is no name; leave {flag.option} out for none")
        return
    if flag.choices and word not in flag.choices:
        suggestion = did_you_mean(word, flag.choices)
        raise UserError(f"{flag.name} {shown(word)}: {suggestion}allowed are {', '.join(flag.choices)}")
    if flag.kind is int:
        _check_number(flag, word, given, int)
        if abs(int(word)) >= _TOO_LARGE:
            raise UserError(f"{flag.name} {shown(word)}: is too large; must be below 2**63")
    elif flag.kind is float:
        _check_number(flag, word, given, float)
    elif flag.many and flag.kind is str and not flag.positional and _is_a_list(word):
        raise UserError(f"{flag.name} {shown(word)}: several values are {_apart(flag, given)}")


def wanted(flag: Flag) -> str:
    """What the flag takes, for a person."""
    if flag.choices:
        return f"one of {', '.join(flag.choices)}"
    what = {int: "whole number", float: "number"}.get(flag.kind, "value")
    return f"{what}s, separated by spaces" if flag.many else f"a {what}"


def _check_number(flag: Flag, word: str, given: Sequence[str], number: Callable[[str], Any]) -> None:
    if _is(number, word):
        return
    parts = [part for each in given for part in _SEPARATORS.split(each) if part]
    decimal_comma = number is float and re.fullmatch(r"[+-]?0?,\d+(e[+-]?\d+)?", word)
    if flag.many and not decimal_comma and len(parts) > 1 and all(_is(number, part) for part in parts):
        what = "whole numbers" if number is int else "numbers"
        raise UserError(f"{flag.name} {shown(word)}: {what} are {_apart(flag, parts)}")
    meant = _meant(word, number)
    raise UserError(f"{flag.name} {shown(word)}: must be {wanted(flag)}{f'; did you mean {meant}?' if meant else ''}")


def _is(number: Callable[[str], Any], word: str) -> bool:
    try:
        number(word)
    except ValueError:
        return False
    return True


def _meant(word: str, number: Callable[[str], Any]) -> str:
    """The number that was meant by a word that is none, where one can tell."""
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", word) and number is int:
        return word.replace(",", "")
    if number is float:
        return word.replace(",", ".") if re.fullmatch(r"[+-]?\d*,\d+(e[+-]?\d+)?", word) else ""
    if _is(float, word) and (value := float(word)).is_integer() and abs(value) < _TOO_LARGE:
        return str(int(value))
    return ""


def _is_a_list(word: str) -> bool:
    return re.search(r"\S,\S", _outside_brackets(word)) is not None and not Path(word).exists()


def _apart(flag: Flag, given: Sequence[str]) -> str:
    parts = [part.strip() for each in given for part in each.split(",") if part.strip()]
    return f"separated by spaces: {flag.option} {shlex.join(parts)}"


def _outside_brackets(word: str) -> str:
    """Without the sets of a pattern, in which a comma is a character like others."""
    return re.sub(r"\[[^\]]*\]|\{[^}]*\}", "", word)
