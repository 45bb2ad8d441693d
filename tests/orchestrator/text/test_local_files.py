"""Which files a path names: directories, their splits and configurations, patterns."""

import json
import os
from pathlib import Path
from typing import Any

import datasets
import pytest

from orchestrator.errors import UserError
from orchestrator.text.config import TextConfig
from orchestrator.text.sources import check_text, describe, documents, source_identity


def write(directory: Path, *names: str) -> None:
    """Files that each hold their own name as text, in their format."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({"text": name}) if "json" in name.lower() else f"text\n{name}\n" if "csv" in name else name,
            encoding="utf-8",
        )


def read(dataset: Path | str, **changes: Any) -> list[str]:
    cfg = TextConfig(dataset=str(dataset), **changes)
    check_text(cfg)
    return list(documents(cfg))


def failure(dataset: Path | str, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(dataset, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_directory_of_texts_has_a_document_per_file(tmp_path: Path) -> None:
    write(tmp_path, "b.txt", "sub/a.txt", "empty.TXT")
    (tmp_path / "b.txt").write_bytes(b"one\r\n\r\ntwo\n")
    (tmp_path / "empty.TXT").write_text("", encoding="utf-8")
    assert read(tmp_path) == ["one\n\ntwo\n", "sub/a.txt"]
    assert describe(TextConfig(dataset=str(tmp_path))) == f"{tmp_path} (3 .txt, each a document)"


def test_a_pattern_of_texts_has_a_document_per_file(tmp_path: Path) -> None:
    write(tmp_path, "b.txt", "sub/a.txt")
    (tmp_path / "b.txt").write_text("one\n\ntwo", encoding="utf-8")
    assert read(f"{tmp_path}/*.txt") == ["one\n\ntwo"]
    assert read(f"{tmp_path}/**/*.txt") == ["one\n\ntwo", "sub/a.txt"]


def test_one_text_file_is_cut_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("one\n\ntwo\n\n\n\n\nthree\n", encoding="utf-8")
    assert read(tmp_path / "b.txt") == ["one", "two", "\nthree\n"]
    assert "cut into documents at empty lines, so parts of one text may be on both sides" in describe(
        TextConfig(dataset=str(tmp_path / "b.txt"))
    )


def test_tokens_made_when_texts_were_cut_otherwise_are_made_again(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    whole, cut = (source_identity(TextConfig(dataset=str(path))) for path in (tmp_path, tmp_path / "a.txt"))
    assert whole != cut


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (["a.txt", "b.txt", "metadata.json"], "2 .txt ('a.txt') and 1 .json ('metadata.json')"),
        (["a.jsonl", "README.txt"], "1 .txt ('README.txt') and 1 .jsonl ('a.jsonl')"),
        (["a.jsonl", "metadata.json"], "1 .jsonl ('a.jsonl') and 1 .json ('metadata.json')"),
        (["a.jsonl", "x/y/notes.csv"], "1 .jsonl ('a.jsonl') and 1 .csv ('notes.csv')"),
    ],
)
def test_a_directory_of_several_formats_is_refused_with_the_choice(
    tmp_path: Path, names: list[str], kinds: str
) -> None:
    directory = tmp_path / "it's [1]"
    write(directory, *names)
    line = failure(directory)
    assert line.startswith(f"dataset {str(directory)!r}: files of several formats, {kinds}; choose one, with ")
    assert "it'\"'\"'s [[]1]/**/*" in line, "can be pasted"
    assert read(f"{tmp_path}/it's [[]1]/**/*{Path(names[0]).suffix}") == [n for n in names if n.endswith(names[0][1:])]


def test_a_pattern_of_several_formats_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "a.jsonl")
    assert "files of several formats" in failure(f"{tmp_path}/*")


def test_what_is_no_data_or_hidden_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", "b.JSONL", "c.jsonl.gz.md", "README.md", "LICENSE", "dataset_infos.json", "run.py")
    write(tmp_path, ".cache/x.json", "._a.jsonl", "__MACOSX/a.jsonl", ".git/x.txt")
    (tmp_path / "README.md").write_text("---\n: not [ YAML\n---\n# Texts", encoding="utf-8")
    assert read(tmp_path) == ["a.jsonl", "b.JSONL"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path, "far/a.txt")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "near")
    write(tmp_path, "near/b.txt")
    assert read(tmp_path / "near") == ["near/b.txt", "far/a.txt"]
    (tmp_path / "near" / "z.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"near/z.txt': No such file or directory"):
        list(documents(TextConfig(dataset=str(tmp_path / "near"))))


LAYOUTS = {
    "by file": ["train-0.jsonl", "my.train.jsonl", "dev.jsonl", "test_2.jsonl"],
    "by directory": ["train/a.jsonl", "my-training/b.jsonl", "valid/a.jsonl", "x/eval/a.jsonl"],
    "by shard": [f"data/{split}-0000{i}-of-00002.jsonl" for split in ("train", "extra") for i in range(2)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_splits_are_those_that_datasets_finds(tmp_path: Path, layout: str) -> None:
    write(tmp_path, *LAYOUTS[layout])
    theirs = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / ".cache"), streaming=True)
    assert len(theirs) > 1
    for split, rows in theirs.items():
        assert sorted(read(tmp_path, dataset_split=split)) == sorted(row["text"] for row in rows)
    has = f"dataset_split 'other': {str(tmp_path)!r} has {', '.join(sorted(theirs))}"
    assert failure(tmp_path, dataset_split="other") == has


def test_names_that_tell_no_split_are_all_train(tmp_path: Path) -> None:
    write(tmp_path, "trains.jsonl", "latest.jsonl", "valid")
    assert read(tmp_path) == ["latest.jsonl", "trains.jsonl"]


def test_a_directory_of_which_only_some_names_tell_a_split_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "notes.txt")
    assert "'train.txt' says that it is of the split train, that of 'notes.txt' says nothing" in failure(tmp_path)
    assert read(f"{tmp_path}/*.txt") == ["notes.txt", "train.txt"]


README = """---
license: mit
configs:
- config_name: one
  data_files: one/*.jsonl
- config_name: two
  default: true
  data_files:
  - split: train
    path: [two/a.jsonl, two/b.jsonl]
  - split: other
    path: "*.jsonl"
- config_name: three
  data_dir: three
- config_name: gone
  data_files: gone/*.jsonl
- config_name: broken
  data_files:
  - path: one/*.jsonl
---
# Texts
"""


def test_configurations_are_those_of_the_readme(tmp_path: Path) -> None:
    directory = tmp_path / "d[1]"
    write(directory, "one/a.jsonl", "two/a.jsonl", "two/b.jsonl", "c.jsonl", "three/train.csv", "three/test.csv")
    (directory / "README.md").write_text(README, encoding="utf-8")
    assert read(directory) == ["two/a.jsonl", "two/b.jsonl"]
    assert read(directory, dataset_config="one") == ["one/a.jsonl"]
    assert read(directory, dataset_config="two", dataset_split="other") == ["c.jsonl"]
    assert read(directory, dataset_config="three") == ["three/train.csv"]
    assert failure(directory, dataset_config="four") == (
        f"dataset_config 'four': {str(directory)!r} has one, two, three, gone, broken"
    )
    assert "README.md, config 'broken'" in failure(directory, dataset_config="broken")
    assert "README.md, config 'gone': no file fits 'gone/*.jsonl'" in failure(directory, dataset_config="gone")
    (directory / "README.md").write_text(README.replace("  default: true\n", ""), encoding="utf-8")
    assert failure(directory).startswith("dataset_config None: ")


def test_a_configuration_of_a_directory_without_any(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl")
    assert failure(tmp_path, dataset_config="one").startswith("dataset_config 'one': ")


@pytest.mark.parametrize("state", ["{", "[]", '{"_data_files": [{"x": 1}]}', '{"step": 5}'])
def test_another_programs_state_is_no_saved_dataset(tmp_path: Path, state: str) -> None:
    write(tmp_path, "a.jsonl")
    (tmp_path / "state.json").write_text(state, encoding="utf-8")
    assert read(tmp_path) == ["a.jsonl"]


def test_what_was_saved_by_datasets(tmp_path: Path) -> None:
    rows = {"text": ["a", "b"], "id": [1, 2]}
    both = datasets.DatasetDict(train=datasets.Dataset.from_dict(rows), test=datasets.Dataset.from_dict({"text": "c"}))
    both.save_to_disk(tmp_path / "both", num_proc=None)
    both["train"].save_to_disk(tmp_path / "one", num_shards=2)
    assert read(tmp_path / "one") == read(tmp_path / "both") == ["a", "b"]
    assert read(tmp_path / "both", dataset_split="test") == ["c"]
    assert failure(tmp_path / "both", dataset_split="other").endswith("has test, train")
    (tmp_path / "one" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(UserError, match=r"data-00001-of-00002.arrow"):
        list(documents(TextConfig(dataset=str(tmp_path / "one"))))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("", "dataset '': empty"),
        ("{}/" + "x" * 300 + ".txt", ": File name too long"),
        ("{}/nowhere.txt", ": no such file or directory"),
        ("{}/*.nowhere", ": no such file or directory"),
        ("https://example.org/a.jsonl", ": no such file or directory; URLs are not read, download the file"),
        ("{}/empty", ": no file whose ending tells a format; allowed endings: .parquet"),
        ("{}/link.jsonl", ": no such file or directory"),
        ("{}/pipe.jsonl", ": neither a file nor a directory"),
        ("{}/a.txt/b.txt", ": no such file or directory"),
    ],
)
def test_what_is_not_there(tmp_path: Path, dataset: str, message: str) -> None:
    write(tmp_path, "a.txt")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert message in failure(dataset.format(tmp_path))
