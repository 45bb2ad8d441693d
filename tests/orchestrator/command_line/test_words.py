"""What is said of the words on a command line, and what is let through to the parser."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.command_line.words import check_words
from orchestrator.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Command:
    """One field of every kind that the scripts have."""

    k: tuple[int, ...] = (4,)
    rates: tuple[float, ...] = ()
    model: tuple[str, ...] = ("a",)
    steps_to_do: int = 3
    gb: float | None = None
    colour: Literal["red", "green"] = "red"
    plan: bool = False
    storage: Path = Path("runs")
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class One:
    """A field given by its place, of which there is one."""

    run: tyro.conf.Positional[str]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A field given by its place."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    rest: tyro.conf.Positional[tuple[str, ...]] = field(default=())
    out: Path | None = None


GOOD = {
    "": {},
    "--k 4 16 --plan": {"k": (4, 16), "plan": True},
    "--k=4 16 --no-plan": {"k": (4, 16)},
    "--steps_to_do 7 --gb -1e-3": {"steps_to_do": 7, "gb": -1e-3},
    "--rates -inf .5 nan": {},
    "--gb None --name None": {"gb": None, "name": None},
    "--name=--plan --storage=-x=y": {"name": "--plan", "storage": Path("-x=y")},
    "--model a,\u00a0b org/name-1.5": {"model": ("a,\u00a0b", "org/name-1.5")},
    "--colour green --no_plan": {"colour": "green"},
}


@pytest.mark.parametrize("words", GOOD)
def test_what_is_meant_is_let_through(words: str) -> None:
    argv = words.split(" ") if words else []
    check_words(argv, Command)
    read = tyro.cli(Command, args=argv)
    assert {name: getattr(read, name) for name in GOOD[words]} == GOOD[words]


WORDS = [
    "--k", "--rates", "--model", "--steps-to-do", "--steps_to_do", "--gb", "--colour", "--plan", "--no-plan", "--name",
    "--storage", "--k=4", "--name=-x", "--colour=red", "--plan=1", "--k=", "4", "-4", "-.5", "1e3", "0x10", "red",
    "Red", "a,b", "", "-", "--", "-k", "-inf", "-4x", "None", "--4", "---", "\u2014k", "--K", "a b", "1_000",
    "\u0664", "9" * 30,
]  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=5))
def test_what_is_let_through_the_parser_reads(argv: list[str]) -> None:
    try:
        check_words(argv, Command)
    except UserError as error:
        assert "\n" not in str(error)
        return
    tyro.cli(Command, args=argv)  # would end the process


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "run: is missing"),
        (["--out", "x"], "run: is missing"),
        ([""], "run '': is empty"),
        (["--out", "a", "--out", "b", "night"], "out: given twice"),
        (["night", "--Out", "a"], "--Out: no such flag; did you mean --out?"),
        (["--run", "night"], "run: is given without --run, as a word of its own"),
    ],
)
def test_fields_given_by_their_place(argv: list[str], says: str) -> None:
    with pytest.raises(UserError) as raised:
        check_words(argv, Placed)
    assert str(raised.value).startswith(says)


def test_a_last_place_takes_several_words_where_it_may() -> None:
    check_words(["night", "day", "a,b", "--out", "x"], Placed)
    with pytest.raises(UserError, match=r"^rest '': is empty"):
        check_words(["night", "day", ""], Placed)
    with pytest.raises(UserError, match=r"^'day': is one word too many; quote what has spaces$"):
        check_words(["night", "day"], One)


def test_a_flag_with_nothing_near_names_no_other() -> None:
    with pytest.raises(UserError, match=r"^--wandb: no such flag; --help lists all$"):
        check_words(["--wandb"], Command)


def test_a_path_with_a_comma_is_one_value(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    check_words(["--model", str(tmp_path / "a,b"), "layers.[0,1]"], Command)
    with pytest.raises(UserError, match="separated by spaces: --model x y"):
        check_words(["--model", "x,y"], Command)
