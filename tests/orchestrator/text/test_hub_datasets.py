"""Text through `datasets`: what goes wrong on the way is one line that says after which row."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest

from orchestrator.errors import UserError
from orchestrator.text.config import TextConfig
from orchestrator.text.hub_datasets import texts_of
from tests.support.hub_server import running_hub
from tests.support.waiting import LIMIT_SECONDS

HUB = TextConfig(dataset="someone/texts", streaming=True)
ROWS = "".join(json.dumps({"text": f"Document {i}", "id": i}) + "\n" for i in range(100)).encode()
ASK = """
import json, sys
from orchestrator.errors import UserError
from orchestrator.text.config import TextConfig
from orchestrator.text.sources import check_text, documents
for asked in json.loads(sys.argv[1]):
    cfg = TextConfig(**asked)
    try:
        check_text(cfg)
        print(len(list(documents(cfg))))
    except UserError as error:
        print(repr(str(error)))
"""
ASKED = {
    "me/texts": ({}, "100"),
    "me/texts, a part": ({"dataset_split": "train[:10%]", "streaming": False}, "10"),
    "me/texts, a split": ({"dataset_split": "other"}, "dataset_split 'other'"),
    "me/texts, a configuration": ({"dataset_config": "no"}, "dataset 'me/texts' (dataset_config 'no', dataset_split "),
    "me/texts, a column": (
        {"text_column": "body"},
        "text_column 'body': not a column of 'me/texts', which has text, id",
    ),
    "me/texts, numbers": ({"text_column": "id"}, "text_column 'id': "),
    "me/broken": ({}, "JSON parse error"),
    "me/nothing": ({}, "dataset 'me/nothing': no such path here, and the hub does not give it (404 "),
}


@pytest.mark.parametrize("streaming", [True, False])
def test_datasets_of_a_hub(tmp_path: Path, streaming: bool) -> None:
    asked = [{"dataset": name.partition(",")[0], "streaming": streaming, **more} for name, (more, _) in ASKED.items()]
    with running_hub() as hub:
        hub.files["me/texts"] = {"train.jsonl": ROWS, "test.jsonl": ROWS}
        hub.files["me/broken"] = {"train.jsonl": ROWS * 4000 + b'{"text": "open\n'}
        done = subprocess.run(
            [sys.executable, "-c", ASK, json.dumps(asked)], capture_output=True, text=True, timeout=LIMIT_SECONDS,
            check=False, env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"},
        )  # fmt: skip
    answers = done.stdout.splitlines()
    assert len(answers) == len(ASKED), done.stderr
    assert [a for a, (_, expected) in zip(answers, ASKED.values(), strict=True) if expected not in a] == []


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


def test_two_files_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"body": "a"}\n', encoding="utf-8")
    rows = datasets.load_dataset("json", data_files=str(tmp_path / "*.jsonl"), split="train", streaming=True)
    assert failure(rows).startswith("dataset 'someone/texts': after row 1: Couldn't cast")
