"""The table at the end of a sweep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.comparison.table import comparison_table
from orchestrator.driver.printed_commands import PROJECT, show_command
from orchestrator.driver.report import records_of
from orchestrator.grid.cells import Cell, cells
from orchestrator.language_models.hookpoints import Hookpoint
from orchestrator.tracking.addresses import sqlite_uri
from tests.support.configs import small
from tests.support.markdown import rows


def grid_of(**axes: tuple[Any, ...]) -> list[Cell]:
    given = {"hookpoint": ("layers.1",), "k": (4,), "expansion_factor": (8,), "variant": ("mp", "topk"), "seed": (0,)}
    found = {**given, **axes}
    points = {
        model: [Hookpoint(name, 32) for name in found["hookpoint"]] for model in found.get("model", ("packaged",))
    }
    return cells(small(**found), points)


def scored(grid: list[Cell]) -> dict[str, dict[str, float]]:
    return {cell.name: {"val/fvu": round((0.5 if cell.variant == "mp" else 0.6) / cell.k, 4)} for cell in grid}


def table_of(grid: list[Cell], results: Mapping[str, Mapping[str, Any]]) -> str:
    return comparison_table(records_of(grid, results))


def test_the_lowest_is_named_with_its_lead() -> None:
    grid = grid_of(k=(16, 4), hookpoint=("layers.2", "layers.1"))
    header, rule, *found = rows(table_of(grid, scored(grid)))
    assert header == ["hookpoint", "expansion", "k", "topk FVU", "mp FVU", "lowest"]
    assert set(rule) == {"---"} and len(rule) == len(header)
    assert found == [
        ["layers.1", "8", "4", "0.1500", "0.1250", "mp by 0.0250, one seed"],
        ["layers.1", "8", "16", "0.0375", "0.0312", "mp by 0.0063, one seed"],
        ["layers.2", "8", "4", "0.1500", "0.1250", "mp by 0.0250, one seed"],
        ["layers.2", "8", "16", "0.0375", "0.0312", "mp by 0.0063, one seed"],
    ]


def test_expansions_are_in_order_of_size() -> None:
    grid = grid_of(expansion_factor=(128, 8, 16))
    assert [row[1] for row in rows(table_of(grid, {}))[2:]] == ["8", "16", "128"]


@pytest.mark.parametrize("missing", [{}, {"failure": "NaN"}], ids=["absent", "failed"])
def test_a_missing_trial_leaves_a_dash_and_no_winner(missing: dict[str, str]) -> None:
    grid = grid_of()
    results: dict[str, dict[str, Any]] = scored(grid)
    results[next(cell.name for cell in grid if cell.variant == "mp")] = missing
    assert rows(table_of(grid, results))[2:] == [["layers.1", "8", "4", "0.1500", "-", "-"]]
    assert rows(table_of(grid, {}))[2:] == [["layers.1", "8", "4", "-", "-", "-"]]


def test_seeds_are_averaged_and_said() -> None:
    grid = grid_of(seed=(0, 1))
    results = {cell.name: {"val/fvu": 0.2 + 0.1 * cell.seed + 0.3 * (cell.variant == "mp")} for cell in grid}
    table = table_of(grid, results)
    assert rows(table)[2:] == [["layers.1", "8", "4", "0.2500 ± 0.0707", "0.5500 ± 0.0707", "topk by 0.3000 ± 0.0000"]]
    assert "of 2 seeds" in table.splitlines()[-1]
    del results[next(cell.name for cell in grid if cell.variant == "mp" and cell.seed == 1)]
    assert rows(table_of(grid, results))[2:] == [
        ["layers.1", "8", "4", "0.2500 ± 0.0707", "0.5000 (1 of 2 seeds)", "topk by 0.3000, one seed"]
    ]


def test_one_variant_has_no_rival() -> None:
    grid = grid_of(variant=("mp",))
    table = table_of(grid, scored(grid))
    assert rows(table)[0] == ["hookpoint", "expansion", "k", "mp FVU", "lowest"]
    assert rows(table)[2:] == [["layers.1", "8", "4", "0.1250", "-"]]
    assert "seeds" not in table


def test_several_models_are_told_apart() -> None:
    grid = grid_of(model=("a/x", "b/y"))
    assert [row[0] for row in rows(table_of(grid, scored(grid)))[2:]] == ["a/x layers.1", "b/y layers.1"]


def test_a_line_in_a_name_ends_no_cell() -> None:
    models = ("a|b", "c")
    grid = cells(small(model=models), {model: [Hookpoint("layers.1", 32)] for model in models})
    _, rule, *found = table_of(grid, {}).split("\n\n")[0].splitlines()
    assert "a\\|b layers.1" in found[0]
    assert {row.replace("\\|", "").count("|") for row in found} == {rule.count("|")}


def test_the_command_that_is_printed_shows_the_store_that_was_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = sqlite_uri(Path("runs"))
    assert show_command(ours, Path("runs")) == f"make ui STORAGE={tmp_path}/runs"
    assert show_command(sqlite_uri(PROJECT / "runs"), PROJECT / "runs") == "make ui"
    elsewhere = show_command("sqlite:////else/where.db", Path("runs"))
    assert elsewhere is not None and elsewhere.endswith("-m mlflow ui --backend-store-uri sqlite:////else/where.db")
    assert "secret" not in str(show_command("postgresql://me:secret@host/db", Path("runs")))
    assert show_command("http://localhost:5000", Path("runs")) is None
