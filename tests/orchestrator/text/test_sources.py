"""Documents from local files of every kind, and what can be wrong with them."""

from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.text.config import TextConfig
from orchestrator.text.sources import check_text, documents
from tests.support.texts import TEXTS, write


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "arrow", "text", "directory", "glob", "saved"])
def test_local_formats(tmp_path: Path, kind: str) -> None:
    cfg = TextConfig(dataset=write(tmp_path, kind))
    check_text(cfg)
    assert list(documents(cfg)) == TEXTS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_column": "body"}, "text_column 'body': not a column of .* which has text, id"),
        ({"text_column": "id"}, "text_column 'id': not a column of text"),
        ({"dataset_split": "test"}, "dataset_split 'test': '.*parquet' has train$"),
        ({"dataset": "missing.parquet"}, "dataset 'missing.parquet': no such file"),
        ({"dataset": "/no/such/dir"}, "dataset '/no/such/dir': no such file or directory"),
        ({"dataset": "nobody/no-such-dataset-here"}, "dataset 'nobody/no-such-dataset-here': no such path"),
    ],
)
def test_mistakes(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    cfg = TextConfig(**{"dataset": write(tmp_path, "parquet"), **changes})
    with pytest.raises(UserError, match=message) as caught:
        check_text(cfg)
    assert "\n" not in str(caught.value)


def test_corrupt_file(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"bad\.parquet"):
        check_text(TextConfig(dataset=str(tmp_path / "bad.parquet")))
