"""Text through `datasets`: what goes wrong on the way is one line that says after which row."""

from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

from orchestrator.errors import UserError
from orchestrator.text.config import TextConfig
from orchestrator.text.hub_datasets import texts_of

HUB = TextConfig(dataset="someone/texts", streaming=True)


def failure(rows: object) -> str:
    with pytest.raises(UserError) as caught:
        list(texts_of(rows, HUB))
    return str(caught.value)


def test_empty_texts_are_left_out() -> None:
    rows = datasets.Dataset.from_dict({"text": ["a", None, "", "b"]})
    assert list(texts_of(rows, HUB)) == list(texts_of(rows.to_iterable_dataset(), HUB)) == ["a", "b"]


def test_a_connection_that_breaks_is_one_line() -> None:
    def rows() -> Iterator[dict[str, str]]:
        yield from ({"text": str(i)} for i in range(5))
        raise ConnectionResetError(104, "Connection reset by peer")

    assert failure(datasets.IterableDataset.from_generator(rows)) == (
        "dataset 'someone/texts': after row 5: Connection reset by peer"
    )


def test_a_file_of_the_dataset_that_breaks_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 1_000_000 + '{"text": "open\n')
    rows = datasets.load_dataset("json", data_files=str(tmp_path / "a.jsonl"), split="train", streaming=True)
    line = failure(rows)
    assert line.startswith("dataset 'someone/texts': after row ") and "JSON" in line and "\n" not in line


def test_two_files_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "b.jsonl").write_text('{"body": "a"}\n')
    rows = datasets.load_dataset("json", data_files=str(tmp_path / "*.jsonl"), split="train", streaming=True)
    assert failure(rows).startswith("dataset 'someone/texts': after row 1: Couldn't cast")
