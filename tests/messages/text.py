"""The text a person brings."""

import gzip
import json

from tests.messages.mistakes import Mistake, Place, mistake

MISTAKES: dict[str, Mistake] = {}

_LINES = "".join(json.dumps({"text": f"Document {i} has its own words."}) + "\n" for i in range(300)).encode()
_LONG_LINES = "".join(json.dumps({"text": f"{i} " + "word " * 2000}) + "\n" for i in range(1100)).encode()
_PROSE = "All of this is one text.\n" * 20_000


def _dataset(place: Place, name: str, data: bytes | str) -> list[str]:
    """A file of the mistake's and the flag that names it."""
    path = place.path / "input" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return ["--dataset", str(path)]


def _all_of_it(flags: list[str]) -> list[str]:
    """With so many tokens asked for that the file is read to its end."""
    return [*flags, "--train-tokens", "10000000"]


@mistake(MISTAKES, r"dataset '.*/a\.jsonl': line 1101: byte 0xe9 is not UTF-8; convert the file, .*")
def bytes_that_are_no_text_after_10_mb(place: Place) -> list[str]:
    return _all_of_it(_dataset(place, "a.jsonl", _LONG_LINES + b'{"text": "caf\xe9"}\n'))


@mistake(MISTAKES, r"dataset '.*/a\.txt': line 20001: byte 0xe9 is not UTF-8; convert the file, .*")
def latin1_late_in_a_text_file(place: Place) -> list[str]:
    return _dataset(place, "a.txt", _PROSE.encode() + b"caf\xe9\n")


@mistake(MISTAKES, r"dataset '.*/a\.txt': line 1: byte 0xff is not UTF-8; convert the file, `iconv -f utf-16 .*")
def a_text_file_of_utf16(place: Place) -> list[str]:
    return _dataset(place, "a.txt", _PROSE.encode("utf-16"))


@mistake(MISTAKES, r"dataset '.*/a\.jsonl': line 1101: not a JSON object \(.*\)")
def a_broken_line_after_10_mb(place: Place) -> list[str]:
    return _all_of_it(_dataset(place, "a.jsonl", _LONG_LINES + b'{"text": "open\n'))


@mistake(MISTAKES, r"dataset '.*/a\.jsonl': line 301: text_column 'text' holds a number, not text")
def a_number_instead_of_text_late(place: Place) -> list[str]:
    return _dataset(place, "a.jsonl", _LINES + b'{"text": 5}\n')


@mistake(MISTAKES, r"dataset '.*/a\.jsonl\.gz': after line \d+: Truncated compressed stream")
def a_compressed_file_cut_short(place: Place) -> list[str]:
    return _all_of_it(_dataset(place, "a.jsonl.gz", gzip.compress(_LONG_LINES)[:-1000]))


@mistake(MISTAKES, r"dataset '.*/a\.json': row 301: not a JSON object .*; is the file cut short\?")
def a_list_cut_short(place: Place) -> list[str]:
    return _dataset(place, "a.json", b"[" + _LINES.replace(b"\n", b",\n"))


@mistake(MISTAKES, r"dataset '.*/a\.csv': line 2: 2 fields, and the first line names 1; .*")
def commas_that_are_not_quoted(place: Place) -> list[str]:
    return _dataset(place, "a.csv", "text\nHello, world\n")


@mistake(MISTAKES, r"dataset '.*/a\.csv': line 4: not CSV .* quote before it not closed\?")
def a_quote_that_is_never_closed(place: Place) -> list[str]:
    return _dataset(place, "a.csv", 'text\n"fine"\n"open\n"fine"\n')


@mistake(MISTAKES, r"dataset '.*/a\.jsonl': no text there, in 1 file of 0 bytes")
def a_jsonl_of_0_bytes(place: Place) -> list[str]:
    return _dataset(place, "a.jsonl", "")


@mistake(MISTAKES, r"dataset '.*/a\.txt': no text there, in 1 file of 0 bytes")
def a_text_file_of_0_bytes(place: Place) -> list[str]:
    return _dataset(place, "a.txt", "")


@mistake(MISTAKES, r"dataset '.*/a\.parquet': Parquet file size is 0 bytes")
def a_parquet_of_0_bytes(place: Place) -> list[str]:
    return _dataset(place, "a.parquet", "")


@mistake(MISTAKES, r"dataset '.*/a\.txt': line 1: this is Git LFS's pointer to the file, .*`git lfs pull` fetches it")
def a_pointer_instead_of_the_file(place: Place) -> list[str]:
    return _dataset(place, "a.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


@mistake(MISTAKES, r"text_column 'body': not a column of '.*/a\.jsonl', which has text")
def a_column_that_is_not_there(place: Place) -> list[str]:
    return [*_dataset(place, "a.jsonl", _LINES), "--text-column", "body"]


@mistake(MISTAKES, r"dataset_split 'validation': '.*/a\.jsonl' has train")
def a_split_of_a_single_file(place: Place) -> list[str]:
    return [*_dataset(place, "a.jsonl", _LINES), "--dataset-split", "validation"]


@mistake(MISTAKES, r"dataset_config 'english': '.*' has none, for no README\.md there describes any")
def a_configuration_of_a_plain_directory(place: Place) -> list[str]:
    _dataset(place, "d/a.jsonl", _LINES)
    return ["--dataset", str(place.path / "input" / "d"), "--dataset-config", "english"]


@mistake(
    MISTAKES,
    r"dataset '.*/d': files of several formats, 3 \.txt \('0\.txt'\) and 1 \.json \('metadata\.json'\); "
    r"choose one, with \S+/d/\*\*/\*\.txt' or \S+/d/\*\*/\*\.json'",
)
def metadata_among_texts(place: Place) -> list[str]:
    for i in range(3):
        _dataset(place, f"d/{i}.txt", _PROSE)
    _dataset(place, "d/metadata.json", '{"author": "A"}')
    return ["--dataset", str(place.path / "input" / "d")]


@mistake(MISTAKES, r"dataset '.*/d': files of several formats, .* choose one, .*")
def a_readme_beside_jsonl(place: Place) -> list[str]:
    _dataset(place, "d/a.jsonl", _LINES)
    _dataset(place, "d/README.txt", _PROSE)
    return ["--dataset", str(place.path / "input" / "d")]


@mistake(MISTAKES, r"text_column 'text': not a column of '.*/d/b\.jsonl', which has version")
def another_kind_of_file_among_jsonl(place: Place) -> list[str]:
    _dataset(place, "d/a.jsonl", _LINES)
    _dataset(place, "d/b.jsonl", '{"version": 1}')
    return ["--dataset", str(place.path / "input" / "d")]


@mistake(
    MISTAKES, r"dataset '.*/d': the name of 'train\.txt' says .* split train, that of 'notes\.txt' says nothing; .*"
)
def notes_beside_a_split(place: Place) -> list[str]:
    _dataset(place, "d/train.txt", _PROSE)
    _dataset(place, "d/notes.txt", _PROSE)
    return ["--dataset", str(place.path / "input" / "d")]


@mistake(MISTAKES, r"dataset '.*/corpus\.tsv': no file whose ending tells a format; allowed endings: \.parquet, .*")
def an_ending_that_tells_no_format(place: Place) -> list[str]:
    return _dataset(place, "corpus.tsv", "text\n")


@mistake(MISTAKES, r"dataset '.*/nowhere\[1\]\.jsonl': no such file or directory")
def a_path_that_is_not_there(place: Place) -> list[str]:
    return ["--dataset", str(place.path / "nowhere[1].jsonl")]


@mistake(MISTAKES, r"dataset '.*x\.txt': File name too long")
def a_path_too_long(place: Place) -> list[str]:
    return ["--dataset", str(place.path / ("x" * 300 + ".txt"))]


@mistake(MISTAKES, r"dataset '': is empty; give a value, .*")
def no_path_at_all(place: Place) -> list[str]:
    return ["--dataset", ""]


@mistake(
    MISTAKES,
    r"(val|train)_tokens \d+: dataset '.*/novel\.txt' has only \d+ (validation|training) tokens: it is one "
    r"document, which is wholly in training or in validation; bring several: in a \.txt file an empty line .*",
)
def one_document(place: Place) -> list[str]:
    return _dataset(place, "novel.txt", _PROSE)


@mistake(MISTAKES, r"(val|train)_tokens \d+: .* has only \d+ .* tokens: it is 40 copies of one document, which .*")
def copies_of_one_document(place: Place) -> list[str]:
    return _dataset(place, "copies.jsonl", (json.dumps({"text": _PROSE}) + "\n") * 40)


@mistake(MISTAKES, r"(val|train)_tokens \d+: .* tokens: \d+ of its 300 documents fell to .*; bring more text, .*")
def too_little_text(place: Place) -> list[str]:
    return _dataset(place, "a.jsonl", _LINES)


@mistake(MISTAKES, r"dataset '.*/gone', '.*/data-00000-of-00001\.arrow': No such file or directory")
def a_saved_dataset_without_its_data(place: Place) -> list[str]:
    _dataset(place, "gone/state.json", '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    return ["--dataset", str(place.path / "input" / "gone")]
