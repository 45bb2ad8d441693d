"""Which files a path names: one file, a pattern, or a directory, with its splits and configurations.

A path that exists is that path, whatever characters it has; only another is a pattern.
"""

import glob
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load
from yaml import YAMLError

from orchestrator.errors import UserError
from orchestrator.text.formats import ENDINGS, ending_of

# How `datasets` tells splits: `data/NAME-00000-of-00001.parquet`, or a word in the name of a file or of its directory.
_SHARD = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}")
_WORDS = {
    "train": "train|training",
    "validation": "validation|valid|dev|val",
    "test": "test|testing|eval|evaluation",
}
_IN_NAME = {split: re.compile(rf"(?:^|[-._ 0-9])(?:{words})[-._ 0-9]") for split, words in _WORDS.items()}
_ABOUT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"}


@dataclass(frozen=True)
class LocalText:
    """Files of one format, in the order in which they are read."""

    paths: list[Path]
    whole: bool = False
    """Whether each is one document: text files in a directory or of a pattern."""

    def __str__(self) -> str:
        """What a person should know of how the files become documents."""
        ending = ending_of(self.paths[0])
        if ending != ".txt":
            return f"{len(self.paths)} {ending}"
        if self.whole:
            return f"{len(self.paths)} .txt, each a document"
        return "a .txt, cut into documents at empty lines, so parts of one text may be on both sides of the split"


def local_files(dataset: str, config: str | None, split: str) -> LocalText | None:
    """The local files of a split that `dataset` names; None if it can only be a Hugging Face id.

    Raises UserError where there are none, or of more than one format.
    """
    if not dataset:
        raise UserError("dataset '': empty; allowed are a path, a Hugging Face id, or the name of a source")
    root = Path(dataset)
    if root.is_dir():
        splits = _saved(root, split) or _configured(dataset, root, config) or _by_name(dataset, root, _tree(root))
    elif root.exists() and not root.is_file():
        raise UserError(f"dataset {dataset!r}: neither a file nor a directory")
    elif root.exists():
        splits = {"train": _of_one_format(dataset, [root])}
    elif ending_of(root) is None and re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", dataset):
        return None
    elif found := _fitting(dataset):
        splits = {"train": _of_one_format(dataset, found)}
    else:
        hint = "; URLs are not read, download the file" if "://" in dataset else ""
        raise UserError(f"dataset {dataset!r}: no such file or directory{hint}")
    if split not in splits:
        raise UserError(f"dataset_split {split!r}: {dataset!r} has {', '.join(sorted(splits))}")
    whole = not root.is_file() and {ending_of(path) for path in splits[split]} == {".txt"}
    return LocalText(splits[split], whole)


def _fitting(pattern: str, base: Path | None = None) -> list[Path]:
    """The files that a pattern fits, sorted."""
    # Path.glob takes no absolute patterns.
    names = sorted(glob.glob(pattern, root_dir=base, recursive=True))  # noqa: PTH207
    return [path for name in names if (path := base / name if base else Path(name)).is_file()]


def _tree(directory: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Files below a directory, sorted, links followed; not hidden ones, which other programs keep for themselves."""
    above |= {directory.resolve()}
    for path in sorted(directory.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        if path.is_dir():
            if path.resolve() not in above:
                yield from _tree(path, above)
        elif (path.is_file() or path.is_symlink()) and path.name not in _ABOUT_DATA:
            yield path  # a link to nowhere too: opening it says so


def _of_one_format(dataset: str, paths: Iterable[Path]) -> list[Path]:
    """Those of the files whose ending tells a format, which has to be the same for all. Raises UserError."""
    readable = [path for path in paths if ending_of(path)]
    if not readable:
        raise UserError(f"dataset {dataset!r}: no file whose ending tells a format; allowed endings: {ENDINGS}")
    found = Counter(map(ending_of, readable))
    if len(found) > 1:
        first = {ending: next(path for path in readable if ending_of(path) == ending) for ending in found}
        kinds = " and ".join(f"{n} {ending} ({first[ending].name!r})" for ending, n in found.most_common())
        root = glob.escape(dataset) if Path(dataset).is_dir() else glob.escape(str(readable[0].parent))
        choice = " or ".join(shlex.quote(f"{root}/**/*{ending}") for ending, _ in found.most_common())
        raise UserError(f"dataset {dataset!r}: files of several formats, {kinds}; choose one, with {choice}")
    return readable


def _by_name(dataset: str, root: Path, paths: Iterable[Path]) -> dict[str, list[Path]]:
    """The files by split where their names tell one, else all as `train`. Raises UserError where only some do."""
    splits: dict[str | None, list[Path]] = {}
    for path in _of_one_format(dataset, paths):
        splits.setdefault(_split_of(path.relative_to(root)), []).append(path)
    nameless = splits.pop(None, [])
    if nameless and splits:
        split, (other, *_) = next(iter(splits.items()))
        raise UserError(
            f"dataset {dataset!r}: the name of {str(other.relative_to(root))!r} says that it is of the split {split}, "
            f"that of {str(nameless[0].relative_to(root))!r} says nothing; name the files meant by a pattern"
        )
    return {name: found for name, found in splits.items() if name} or {"train": nameless}


def _split_of(path: Path) -> str | None:
    if shard := _SHARD.match(path.as_posix()):
        return shard[1]
    directories = [f"{part}-" for part in path.parent.parts]  # a directory's name may end with the word
    for names in (directories, [path.name]):
        for split, pattern in _IN_NAME.items():
            if any(map(pattern.search, names)):
                return split
    return None


def _configured(dataset: str, root: Path, asked: str | None) -> dict[str, list[Path]] | None:
    """Splits as the README.md of a dataset's repository describes them; None if it does not. Raises UserError."""
    configs = _configs(root / "README.md")
    if not configs:
        if asked is not None:
            raise UserError(f"dataset_config {asked!r}: {dataset!r} has none, for no README.md there describes any")
        return None
    default = next((name for name, config in configs.items() if config.get("default")), "default")
    name = asked or (next(iter(configs)) if len(configs) == 1 else default)
    if name not in configs:
        raise UserError(f"dataset_config {asked!r}: {dataset!r} has {', '.join(configs)}")
    files = configs[name].get("data_files")
    base = root / str(configs[name].get("data_dir") or "")
    if files is None:
        return _by_name(dataset, base, _tree(base))
    entries = files if isinstance(files, list) else [files]
    splits: dict[str, list[Path]] = {}
    for entry in entries:
        if isinstance(entry, dict) and not {"split", "path"} <= entry.keys():
            raise UserError(f"dataset {dataset!r}: README.md, config {name!r}: data_files without a split and a path")
        split, patterns = (entry["split"], entry["path"]) if isinstance(entry, dict) else ("train", entry)
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            if not (found := _fitting(str(pattern), base)):
                raise UserError(f"dataset {dataset!r}: README.md, config {name!r}: no file fits {pattern!r}")
            splits.setdefault(str(split), []).extend(found)
    return {split: _of_one_format(dataset, paths) for split, paths in splits.items()}


def _configs(readme: Path) -> dict[str, dict[str, Any]]:
    """The configurations in the front matter of a README.md by name; none where it is about something else."""
    try:
        found = (metadata_load(readme) or {}).get("configs") if readme.is_file() else None
        return {str(config["config_name"]): config for config in found or []}
    except (OSError, ValueError, TypeError, KeyError, YAMLError):
        return {}


def _saved(root: Path, split: str) -> dict[str, list[Path]] | None:
    """The files by split of what `datasets` saved with `save_to_disk`; None for other directories."""
    if names := _described(root / "dataset_dict.json").get("splits"):
        return {name: _shards(root / name) for name in names}
    # One split that was saved alone is the one meant, whatever it was called.
    return {split: files} if (files := _shards(root)) else None


def _shards(directory: Path) -> list[Path]:
    files = _described(directory / "state.json").get("_data_files", [])
    return [directory / file["filename"] for file in files if isinstance(file, dict) and "filename" in file]


def _described(path: Path) -> dict[str, Any]:
    """What a JSON file says; nothing where it is not there or about something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
