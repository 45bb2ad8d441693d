"""Files of every format as documents: what is read, and the line that says what cannot be."""

import bz2
import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import UserError
from orchestrator.text.config import TextConfig
from orchestrator.text.sources import check_text, documents
from tests.support.texts import TEXTS

LINES = "".join(json.dumps({"text": text, "id": i}) + "\n" for i, text in enumerate(TEXTS)).encode()
TEN_MB = "".join(json.dumps({"text": f"{i} " + "x" * 1000, "id": i}) + "\n" for i in range(10_500)).encode()
CSV = ("id,text\n" + "".join(f'{i},"{text}, he said"\n' for i, text in enumerate(TEXTS))).encode()
PARAGRAPHS = "\n\n".join(TEXTS).encode()


def read(path: Path, **changes: Any) -> list[str]:
    cfg = TextConfig(dataset=str(path), **changes)
    check_text(cfg)
    return list(documents(cfg))


def failure(path: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **changes)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 900
    return line.replace(str(path.parent), "")


def parquet(values: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": values}), sink)
    return sink.getvalue().to_pybytes()


def arrow(writer: Callable[..., Any]) -> bytes:
    table, sink = pa.table({"id": range(len(TEXTS)), "text": TEXTS}), pa.BufferOutputStream()
    with writer(sink, table.schema) as file:
        file.write_table(table, max_chunksize=70)
    return sink.getvalue().to_pybytes()


def bad_strings(*values: bytes) -> pa.Array:
    """Strings as some writer left them that did not look at the bytes."""
    return pa.StringArray.from_buffers(len(values), *pa.array(values).buffers()[1:])


GOOD = {
    "a.jsonl": LINES,
    "upper.JSONL": LINES,
    "a.jsonl.gz": gzip.compress(LINES),
    "two_members.jsonl.gz": gzip.compress(LINES[: len(LINES) // 2]) + gzip.compress(LINES[len(LINES) // 2 :]),
    "a.JSONL.GZ": gzip.compress(LINES),
    "a.jsonl.bz2": bz2.compress(LINES),
    "a.jsonl.zst": pa.compress(LINES, codec="zstd", asbytes=True),
    "a.json.gz": gzip.compress(LINES),
    "bom.jsonl": b"\xef\xbb\xbf" + LINES,
    "crlf.jsonl": LINES.replace(b"\n", b"\r\n"),
    "empty_lines.jsonl": LINES.replace(b"\n", b"\n\n"),
    "nulls.jsonl": b'{"text": null}\n{"text": ""}\n{"id": 3}\n' + LINES,
    "list.json": json.dumps([{"text": text} for text in TEXTS], indent=2).encode(),
    "strings.json": json.dumps(TEXTS).encode(),
    "lines.json": LINES,
    "objects.json": b"\n".join(json.dumps({"text": text}, indent=1).encode() for text in TEXTS),
    "a.txt": PARAGRAPHS,
    "a.TXT": PARAGRAPHS,
    "a.txt.gz": gzip.compress(PARAGRAPHS),
    "bom.txt": b"\xef\xbb\xbf" + PARAGRAPHS,
    "crlf.txt": PARAGRAPHS.replace(b"\n", b"\r\n"),
    "blank.txt": PARAGRAPHS.replace(b"\n\n", b"\n \t\n"),
    "many_empty.txt": b"\n\n" + PARAGRAPHS.replace(b"\n\n", b"\n\n\n\n") + b"\n\n",
    "strings.parquet": parquet(TEXTS),
    "large.parquet": parquet(pa.array(TEXTS, pa.large_string())),
    "categories.parquet": parquet(pa.array(TEXTS).dictionary_encode()),
    "nulls.parquet": parquet([None, "", *TEXTS]),
    "file.arrow": arrow(pa.ipc.new_file),
    "stream.arrow": arrow(pa.ipc.new_stream),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_file_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD[name])
    assert read(tmp_path / name) == TEXTS


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "crlf.csv", "a.csv.gz", "empty_lines.csv"])
def test_csv_is_read(tmp_path: Path, name: str) -> None:
    data = CSV.replace(b"\n", b"\r\n") if name == "crlf.csv" else CSV
    data = b"\n" + data.replace(b'"\n', b'"\n\n') if name == "empty_lines.csv" else data
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert read(tmp_path / name) == [f"{text}, he said" for text in TEXTS]


@pytest.mark.parametrize("name", ["a.jsonl", "strings.parquet", "file.arrow", "a.txt"])
def test_a_path_that_is_no_utf8_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9" + os.fsencode(name))
    path.write_bytes(GOOD[name])
    assert read(path) == TEXTS


def test_a_long_field_of_csv_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\n"' + "long\n" * 100_000 + '"\n', encoding="utf-8")
    assert read(tmp_path / "a.csv") == ["long\n" * 100_000]


@pytest.mark.parametrize(
    "name", ["file[1].jsonl", "what?.jsonl", "*.jsonl", "zip::a.jsonl", "a b#%20.jsonl", "~.jsonl"]
)
def test_a_path_that_exists_is_that_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "file1.jsonl").write_text('{"text": "another"}', encoding="utf-8")
    (tmp_path / name).write_bytes(LINES)
    assert read(tmp_path / name) == TEXTS


@pytest.mark.parametrize("name", ["x[1]", "who?", "a*", "a{b,c}"])
def test_a_directory_that_exists_is_that_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.jsonl").write_bytes(LINES)
    assert read(tmp_path / name) == TEXTS


OTHER_COLUMNS = {
    "of bytes that are no text": b'{"text": "fine", "id": "caf\xe9"}',
    "of another type than before": b'{"text": "fine", "id": "a string"}',
    "of a number too long": b'{"text": "fine", "id": ' + b"1" * 5000 + b"}",
    "of control characters": b'{"text": "fine", "id": "\t\x01"}',
    "of half a character": b'{"text": "fine", "id": "\\ud800"}',
    "that was not there": b'{"text": "fine", "new": {"a": [1]}}',
}


@pytest.mark.parametrize("what", OTHER_COLUMNS)
def test_another_column_cannot_fail_us(tmp_path: Path, what: str) -> None:
    for name in ("a.jsonl", "a.json"):
        (tmp_path / name).write_bytes(LINES + OTHER_COLUMNS[what] + b"\n")
        assert read(tmp_path / name) == [*TEXTS, "fine"]


def test_another_column_of_parquet_cannot_fail_us(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["fine", "too"], "id": bad_strings(b"ok", b"caf\xe9")}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == ["fine", "too"]


def test_another_column_of_csv_cannot_fail_us(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(CSV + b'caf\xe9,"fine"\n')
    assert read(tmp_path / "a.csv")[-1] == "fine"


def test_half_a_character_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(r'{"text": "half \udc80 whole \ud83d\udc80"}', encoding="utf-8")
    assert read(tmp_path / "a.jsonl") == ["half \ufffd whole \U0001f480"]


def test_a_list_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    texts = ['"quoted"\\\n\u00e9\U0001f480 ' * 40_000, *TEXTS, "x" * 3_000_000, *TEXTS]
    (tmp_path / "a.json").write_text(json.dumps([{"text": text} for text in texts]), encoding="utf-8")
    assert read(tmp_path / "a.json") == texts


@pytest.mark.parametrize("between", [b"", b"\n", b" ,\n"])
def test_lists_one_after_the_other_are_read_like_one(tmp_path: Path, between: bytes) -> None:
    lists = [json.dumps([{"text": text} for text in part]).encode() for part in (TEXTS[:100], [], TEXTS[100:])]
    (tmp_path / "a.json").write_bytes(between.join(lists) + b"\n")
    assert read(tmp_path / "a.json") == TEXTS


BAD: dict[str, tuple[bytes, str]] = {
    "after_its_list.json": (b'[{"text": "a"}]\nwords', r"row 2: not a JSON object"),
    "utf16_unmarked.txt": (PARAGRAPHS.decode().encode("utf-16-le"), r"line 1: has NUL characters; is it UTF-16\?"),
    "late_bytes.jsonl": (
        TEN_MB + b'{"text": "caf\xe9"}\n',
        "dataset '/late_bytes.jsonl': line 10501: byte 0xe9 is not UTF-8",
    ),
    "late_bytes.json": (TEN_MB + b'{"text": "caf\xe9"}\n', "row 10501: byte 0xe9 is not UTF-8"),
    "late_bytes.txt": (b"fine\n\n" * 2_000_000 + b"\ncaf\xe9\n", "line 4000002: byte 0xe9 is not UTF-8"),
    "late_bytes.csv": (CSV + b'1,"caf\xe9"\n', "line 302: byte 0xe9 is not UTF-8"),
    "bytes.parquet": (parquet(bad_strings(b"ok", b"caf\xe9")), "row 2: byte 0xe9 is not UTF-8"),
    "utf16.txt": (PARAGRAPHS.decode().encode("utf-16"), "line 1: byte 0xff is not UTF-8; .*iconv -f utf-16"),
    "utf16.jsonl": (LINES.decode().encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
    "utf16.json": (LINES.decode().encode("utf-16"), "row 1: byte 0xff is not UTF-8"),
    "late_line.jsonl": (TEN_MB + b'{"text": "open\n', "line 10501: not a JSON object"),
    "early_line.jsonl": (LINES + b'{"text": "open\n' + LINES, "line 301: not a JSON object"),
    "two_objects.jsonl": (b'{"text": "a"} {"text": "b"}\n', "line 1: not a JSON object .more after the object"),
    "no_object.jsonl": (LINES + b'"text"\n', 'line 301: not an object with columns, but "text"'),
    "number.jsonl": (LINES + b'{"text": 5}\n', "line 301: text_column 'text' holds a number, not text"),
    "list.jsonl": (b'{"text": ["a"]}\n', "line 1: text_column 'text' holds a list"),
    "deep.jsonl": (b'{"text": "a"}\n{"a": ' + b"[" * 100_000 + b"\n", "after line 1: maximum recursion depth"),
    "late_row.json": (b"[" + TEN_MB.replace(b"\n", b",\n") + b'{"text": }, {"text": "a"}]', "row 10501: not a JSON"),
    "open.json": (b"[" + LINES.replace(b"\n", b",\n"), "row 301: not a JSON object .*; is the file cut short"),
    "cut.json": (json.dumps([{"text": text} for text in TEXTS]).encode()[:-20], "row 300: not .* .Unterminated"),
    "open.csv": (CSV + b'1,"never closed\n2,"b"\n', "line 303: not CSV .* quote before it not closed"),
    "commas.csv": (b"text\nHello, world\n", "line 2: 2 fields, and the first line names 1"),
    "cut.jsonl.gz": (gzip.compress(os.urandom(1000).hex().encode() + TEN_MB)[:3000], "line 1: not a JSON|Truncated"),
    "cut.txt.gz": (gzip.compress(PARAGRAPHS)[:500], "Truncated compressed stream"),
    "plain.jsonl.gz": (LINES, "incorrect header check|zlib"),
    "plain.jsonl.zst": (LINES, "Unknown frame|ZSTD"),
    "packed.jsonl": (gzip.compress(LINES), "line 1: byte 0x8b is not UTF-8"),
    "nothing.jsonl": (b"", "dataset '/nothing.jsonl': no text there, in 1 file of 0 bytes"),
    "nothing.json": (b"", "no text there"),
    "nothing.txt": (b"", "no text there"),
    "nothing.csv": (b"", "no text there"),
    "nothing.jsonl.gz": (b"", "no text there"),
    "nothing.parquet": (b"", "dataset '/nothing.parquet': Parquet file size is 0 bytes"),
    "nothing.arrow": (b"", "dataset '/nothing.arrow': "),
    "header.csv": (b"text,id\n", "no text there"),
    "only_nulls.jsonl": (b'{"text": null}\n{"text": ""}\n', "no text there"),
    "only_nulls.parquet": (parquet([None, None]), "no text there"),
    "cut.parquet": (parquet(TEXTS)[:1000], "dataset '/cut.parquet': Parquet magic bytes not found"),
    "cut.arrow": (arrow(pa.ipc.new_file)[:3000], "dataset '/cut.arrow': "),
    "cut_stream.arrow": (arrow(pa.ipc.new_stream)[:3000], "dataset '/cut_stream.arrow': "),
    "other.jsonl": (b'{"body": "a", "id": 1}\n' * 3, "'text': not a column of '/other.jsonl', which has body, id$"),
    "other.csv": (b"body;text\na;b\n", "text_column 'text': not a column of '/other.csv', which has body;text"),
    "wide.csv": (b",".join(b"column%d" % i for i in range(9999)) + b"\n", "which has column0, .*…"),
    "twice.csv": (b"text,text\na,b\n", "text_column 'text': several columns of '/twice.csv', which has text, text"),
    "utf16.csv": ("text\na\n".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
    "space.csv": (b"id, text\n1, a\n", "which has id, ' text'"),
    "lines.csv": (b'"a\nb",c\n1,2\n', "which has 'a..b', c"),
    "numbers.parquet": (parquet([1, 2]), "'text': not a column of text in '/numbers.parquet', which has text"),
    "bytes_type.parquet": (parquet([b"a"]), "not a column of text in"),
    "pointer.txt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "line 1: this is Git LFS"),
    "pointer.parquet": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "this is Git LFS"),
    "corpus": (b"text", "no file whose ending tells a format; allowed endings: .parquet, .jsonl, .json, .csv, "),
    "corpus.tsv": (b"text", "no file whose ending tells a format"),
    "corpus.parquet.gz": (b"text", "no file whose ending tells a format"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    data, line = BAD[name]
    (tmp_path / name).write_bytes(data)
    assert re.search(line, failure(tmp_path / name))


def test_a_corrupt_page_late_in_a_file(tmp_path: Path) -> None:
    texts = [f"{i} {i * 7919 % 10007}" for i in range(50_000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=1000, use_dictionary=False)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(range(200)) * 10
    (tmp_path / "a.parquet").write_bytes(data)
    assert failure(tmp_path / "a.parquet").startswith("dataset '/a.parquet': after row ")


def test_the_column_of_a_text_file_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PARAGRAPHS)
    assert failure(tmp_path / "a.txt", text_column="body") == (
        "text_column 'body': not a column of '/a.txt', which has text"
    )


def test_a_file_is_not_searched_to_its_end_for_a_column(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"body": "a"}\n' * 2000 + b"not JSON\n")
    assert failure(tmp_path / "a.jsonl") == "text_column 'text': not a column of '/a.jsonl', which has body"


def test_a_file_without_the_column_among_others_is_named(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.jsonl").write_bytes(LINES)
    (tmp_path / "d" / "b.jsonl").write_text('{"version": 1}', encoding="utf-8")
    assert failure(tmp_path / "d") == "text_column 'text': not a column of '/d/b.jsonl', which has version"


def test_a_bad_row_of_a_file_among_others_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.jsonl").write_bytes(LINES)
    (tmp_path / "d" / "b.jsonl").write_bytes(LINES + b"{")
    assert failure(tmp_path / "d").startswith("dataset '/d', '/d/b.jsonl': line 301: not a JSON object")
