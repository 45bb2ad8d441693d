"""A mistake: the flags a user gives, made in a place of its own, and the line that answers."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

FLAGS = {
    "--context-length": "32", "--train-tokens": "49152", "--val-tokens": "8192", "--batch-tokens": "128",
    "--shard-tokens": "8192", "--warmup-steps": "10", "--hookpoint": "layers.1", "--k": "4",
    "--expansion-factor": "8", "--variant": "topk",
}  # fmt: skip
"""What a mistake does not give itself; nothing is wrong with these."""


@dataclass(frozen=True)
class Place:
    """Where a mistake is made."""

    path: Path
    """An empty directory for files that the mistake needs."""
    tiny_model: Path
    """A working model directory, not to be changed: copy it."""
    patch: pytest.MonkeyPatch
    """For environment variables; never to replace the code that answers."""
    undo: ExitStack
    """What gives the machine back its limits."""


@dataclass(frozen=True)
class Mistake:
    """One way to go wrong."""

    flags: Callable[[Place], list[str]]
    says: str
    """A regular expression for the whole line after `error: `."""


def mistake(register: dict[str, Mistake], says: str) -> Callable[[Callable[[Place], list[str]]], None]:
    """Enter the function that makes the mistake and returns its flags, under the function's name."""

    def enter(flags: Callable[[Place], list[str]]) -> None:
        register[flags.__name__] = Mistake(flags, says)

    return enter


def command_line(given: list[str], place: Place) -> list[str]:
    """The flags given and, of those not given, the ones that a small sweep needs."""
    others = FLAGS | {"--model": str(place.tiny_model), "--storage": str(place.path / "runs"), "--name": "mistaken"}
    named = {word.partition("=")[0].replace("_", "-") for word in given}
    return given + [word for flag, value in others.items() if flag not in named for word in (flag, value)]
