"""The flags of a command, as its dataclass has them: what each takes from the command line."""

from dataclasses import MISSING, dataclass, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro


@dataclass(frozen=True)
class Flag:
    """What one field of a command takes."""

    name: str
    """Of the field."""
    kind: Any
    """Type of one value; what is none of those in `values.py` is left to the parser."""
    many: bool
    """Whether it takes several values."""
    optional: bool
    """Whether `None` is a value."""
    choices: tuple[str, ...]
    """The values that there are, where they are counted."""
    positional: bool
    """Given by its place, without a flag."""
    required: bool

    @property
    def option(self) -> str:
        """As it is typed."""
        return "--" + self.name.replace("_", "-")


def flags_of(command: type) -> list[Flag]:
    """The flags of a dataclass, in its order."""
    hints = get_type_hints(command, include_extras=True)
    return [
        _flag(field.name, hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(command)
    ]


def _flag(name: str, hint: Any, required: bool) -> Flag:
    hint, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [member for member in members if member is not NoneType]
    kind = kinds[0] if len(kinds) == 1 else hint
    if many := get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return Flag(
        name=name, kind=str if choices else kind, many=many, optional=NoneType in members, choices=choices,
        positional=tyro.conf.Positional in notes, required=required,
    )  # fmt: skip
