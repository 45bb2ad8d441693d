"""What a hookpoint's wildcards meant, since `*` crosses dots as in sparsify and so means more than most expect."""

import re
import shlex
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

_MOST = 4
"""Patterns or names that stand in a line in place of one pattern."""


def is_pattern(text: str) -> bool:
    """Whether the text has wildcards."""
    return any(character in text for character in "*?[")


def what_it_meant(pattern: str, names: Collection[str]) -> str:
    """One line on how many of the names the pattern means, and what to type for those on its own level alone."""
    matched = [name for name in names if fnmatchcase(name, pattern)]
    said = f"hookpoint {pattern!r}: {len(matched)} module{'' if len(matched) == 1 else 's'}"
    level = on_its_level(pattern, matched)
    if not level or len(level) == len(matched):
        return said
    alone = without_crossing(pattern, names)
    instead = f": --hookpoint {shlex.join(alone)}" if alone else ""
    return f"{said}, since * crosses dots; {len(level)} of them at its own depth{instead}"


def on_its_level(pattern: str, matched: Sequence[str]) -> list[str]:
    """Those of the names that have no more dots than the pattern."""
    return [name for name in matched if name.count(".") == pattern.count(".")]


def without_crossing(pattern: str, names: Collection[str]) -> list[str]:
    """Patterns that mean what this one would if `*` did not cross dots: `layers.?` and `layers.??` for `layers.*`.

    Empty where it takes too many.
    """
    wanted = on_its_level(pattern, [name for name in names if fnmatchcase(name, pattern)])
    tokens = re.split(r"(\[[^\]]*\]|[*?])", pattern)
    expression = "".join(
        "([^.]*)" if t == "*" else "[^.]" if t == "?" else t.replace("[!", "[^") if t[:1] == "[" else re.escape(t)
        for t in tokens
    )
    lengths = {tuple(map(len, m.groups())) for name in wanted if (m := re.fullmatch(expression, name))}
    found = []
    for each in sorted(lengths):
        left = iter(each)
        found.append("".join("?" * next(left) if token == "*" else token for token in tokens))
    if {name for name in names if any(fnmatchcase(name, instead) for instead in found)} != set(wanted) or len(
        found
    ) >= len(wanted):
        found = wanted
    return found if len(found) <= _MOST else []
