"""A person's mistakes, and how any error is told in one line."""

import difflib
from collections.abc import Collection

_LONGEST = 60


class UserError(ValueError):
    """A mistake in what the user asked for; its message is one line that names field, value and what is allowed."""


def one_line(error: BaseException) -> str:
    """What an exception says, for a person who does not read tracebacks; its kind too unless it was meant for them."""
    said = str(error).strip().partition("\n")[0]
    if isinstance(error, UserError) and said:
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def shown(word: str, *, quoted: bool = True) -> str:
    """A word that somebody typed as it stands in a message: on one line, and cut where it is long."""
    text = repr(word[:_LONGEST])[1:-1] + ("…" if len(word) > _LONGEST else "")
    return f"'{text}'" if quoted else text


def did_you_mean(word: str, allowed: Collection[str]) -> str:
    """The allowed word that is close to the one given, as a question; nothing where none is."""
    words = word.split()
    if len(words) > 1 and all(each in allowed for each in words):
        return f"did you mean {' '.join(words)}, without quotes around them all? "
    by_lower = {name.lower(): name for name in allowed}
    near = difflib.get_close_matches(word.strip().lower(), by_lower, 1, 0.7)
    return f"did you mean {by_lower[near[0]]}? " if near else ""
