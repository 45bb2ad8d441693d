"""Values out of JSON for the fields of a config: each as its field's annotation wants it, or a line that says so."""

import math
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from orchestrator.errors import UserError, shown
from orchestrator.saved import LARGEST

_MISFIT = object()


def typed(config: type, field: str, value: Any, where: str) -> Any:
    """The value for that field of a config. Raises UserError where it is of another type."""
    wanted = get_type_hints(config)[field]
    if (fitting := _fit(value, wanted)) is _MISFIT:
        raise UserError(f"{field} {shown(repr(value), quoted=False)} in {where}: must be {_words(wanted)}")
    return fitting


def _fit(value: Any, wanted: Any) -> Any:
    """The value as that type; lists become tuples, texts paths, whole numbers floats. `_MISFIT` where it is none."""
    kind, parts = get_origin(wanted), get_args(wanted)
    if kind in (Union, UnionType):
        return next((found for part in parts if (found := _fit(value, part)) is not _MISFIT), _MISFIT)
    if kind is tuple:
        values = [_fit(each, parts[0]) for each in value] if isinstance(value, list) else [_MISFIT]
        return _MISFIT if any(each is _MISFIT for each in values) else tuple(values)
    if kind is Literal:
        return value if isinstance(value, str) else _MISFIT  # which words are allowed, the config says
    if wanted is Path:
        return Path(value) if isinstance(value, str) and value else _MISFIT
    if wanted in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isnan(value) if isinstance(value, float) else abs(value) > LARGEST:
            return _MISFIT
        return float(value) if wanted is float else value if isinstance(value, int) else _MISFIT
    return value if wanted in (str, bool, NoneType) and isinstance(value, wanted) else _MISFIT


def _words(wanted: Any) -> str:
    kind, parts = get_origin(wanted), get_args(wanted)
    if kind in (Union, UnionType):
        return " or ".join(map(_words, parts))
    if kind is tuple:
        return f"a list, each of it {_words(parts[0])}"
    names = {int: "a whole number below 2**63", float: "a number", bool: "true or false", NoneType: "null"}
    return names.get(wanted, "a text")
