"""The table of all trials: every param and metric, typed, for whoever has no MLflow at hand."""

import dataclasses
from pathlib import Path

import pandas
import pyarrow as pa
import pytest

from orchestrator.tracking.records import write_results
from orchestrator.tracking.typed import typed_column
from tests.support.records import grid

SETTINGS = {"lr": "0.001", "batch_tokens": "2048", "exclude_first": "True", "dataset": "python-docs",
            "massive_multiple": "inf", "store": "None", "tokens.fingerprint": "0" * 7 + "12"}  # fmt: skip


def test_settings_are_columns_of_their_types_beside_metrics(tmp_path: Path) -> None:
    old, new = grid(variant=("topk", "mp"))
    new = dataclasses.replace(new, settings=SETTINGS, metrics=new.metrics | {"lr": 0.0})
    write_results([old, new], tmp_path / "results.parquet")
    table = pandas.read_parquet(tmp_path / "results.parquet")
    assert list(table["variant"]) == ["topk", "mp"] and table["k"].dtype == "int64"
    row = table.loc[1]
    assert (row["settings/lr"], row["lr"]) == (0.001, 0.0)  # the peak, and the last step's
    assert (row["batch_tokens"], row["exclude_first"], row["dataset"]) == (2048, True, "python-docs")
    assert row["massive_multiple"] == float("inf") and row["tokens.fingerprint"] == "0" * 7 + "12"
    assert table.loc[0][[*{*SETTINGS} - {"lr"}, "settings/lr"]].isna().all()
    assert table["val/fvu"].dtype == "float64"


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", None, "-20"], pa.int64()),
        (["0.001", "1e-05", "inf"], pa.float64()),
        (["True", "None", "False"], pa.bool_()),
        (["1", "0.5"], pa.string()),
        (["007"], pa.string()),
        (["1_000"], pa.string()),
        (["9" * 30], pa.string()),
        (["12e45"], pa.string()),
        ([None, "None"], pa.string()),
    ],
    ids=str,
)
def test_a_text_is_of_the_type_that_it_was_made_of(texts: list[str | None], kind: pa.DataType) -> None:
    column = typed_column("name", texts)
    assert column.type == kind
    assert [None if value is None else str(value) for value in column.to_pylist()] == [
        None if text in (None, "None") else text for text in texts
    ]
