"""Where documents come from: a dataset on the Hugging Face hub, local files, or the documentation in every Python."""

import glob
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError
from orchestrator.language_models.hub import HUB_ERRORS, HUB_TIMEOUT_S
from orchestrator.text.python_docs import environment_identity, python_docs

PYTHON_DOCS = "python-docs"
MADE_HERE: dict[str, tuple[Callable[[], Iterator[str]], Callable[[], str]]] = {
    PYTHON_DOCS: (python_docs, environment_identity),
}
"""Sources that every machine has, by the word that names them: their documents, and what tells that these changed."""

_BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".arrow": "arrow", ".txt": "text"}


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Where text comes from."""

    dataset: str
    """A Hugging Face id; a local Parquet, JSON lines, Arrow or text file (in which a blank line ends a document), a
    directory or a glob of such files; or `python-docs`."""
    dataset_config: str | None = None
    """Configuration (subset) of a Hugging Face dataset or of a directory laid out as one."""
    dataset_split: str = "train"
    """Split to read; single files and globs have only `train`."""
    text_column: str = "text"
    """Column that holds the text."""
    streaming: bool = False
    """Read a Hugging Face dataset while it is downloaded, and only as much as is needed. Local files always are."""


def check_text(cfg: TextConfig) -> None:
    """Raise UserError if the dataset, its split or its text column does not exist, reading as little as possible."""
    if cfg.dataset in MADE_HERE:
        return
    on_hub = _local_files(cfg) is None
    with _user_errors(cfg):
        if on_hub:
            _check_reachable(cfg)
        if on_hub and not cfg.streaming:  # opening it would download it
            from datasets import load_dataset_builder

            info = load_dataset_builder(cfg.dataset, cfg.dataset_config).info
            if info.splits and cfg.dataset_split.partition("[")[0] not in info.splits:
                raise UserError(f"dataset_split {cfg.dataset_split!r}: {cfg.dataset!r} has {', '.join(info.splits)}")
            columns = {name: getattr(feature, "dtype", None) for name, feature in (info.features or {}).items()}
        else:
            row = next(iter(_open(cfg)), None)
            if row is None:
                raise UserError(f"dataset {cfg.dataset!r}: split {cfg.dataset_split!r} is empty")
            columns = {name: "string" if isinstance(value, str | None) else "" for name, value in row.items()}
    if columns and columns.get(cfg.text_column) not in ("string", "large_string"):
        problem = "not a column of text in" if cfg.text_column in columns else "not a column of"
        raise UserError(f"text_column {cfg.text_column!r}: {problem} {cfg.dataset!r}, which has {', '.join(columns)}")


def documents(cfg: TextConfig) -> Iterator[str]:
    """The texts in order, read as they are asked for. Raises UserError as `check_text` does."""
    if cfg.dataset in MADE_HERE:
        yield from MADE_HERE[cfg.dataset][0]()
        return
    check_text(cfg)
    with _user_errors(cfg):
        rows = _open(cfg)
    for row in rows.select_columns([cfg.text_column]):
        if row[cfg.text_column]:
            yield row[cfg.text_column]


def _open(cfg: TextConfig) -> Any:
    """The dataset as something to iterate over, local files without copying them into the cache of `datasets`."""
    import datasets

    files = _local_files(cfg)
    if files is None:
        return datasets.load_dataset(cfg.dataset, cfg.dataset_config, split=cfg.dataset_split, streaming=cfg.streaming)
    formats = {_BUILDERS[path.suffix] for path in files}
    options: dict[str, Any] = {"sample_by": "paragraph"} if formats == {"text"} else {}
    root = Path(cfg.dataset)
    if (root / "dataset_dict.json").is_file():
        saved = datasets.load_from_disk(root)
        if cfg.dataset_split not in saved:
            raise UserError(f"dataset_split {cfg.dataset_split!r}: {cfg.dataset!r} has {', '.join(saved)}")
        return saved[cfg.dataset_split]
    if (root / "state.json").is_file():
        return datasets.load_from_disk(root)
    if root.is_dir():
        return datasets.load_dataset(
            cfg.dataset, cfg.dataset_config, split=cfg.dataset_split, streaming=True, **options
        )
    if len(formats) > 1:
        raise ValueError(f"the files are of several formats: {', '.join(sorted(formats))}")
    names = [str(path) for path in files]
    return datasets.load_dataset(formats.pop(), data_files=names, split=cfg.dataset_split, streaming=True, **options)


def _local_files(cfg: TextConfig) -> list[Path] | None:
    """The local data files that `dataset` names, sorted; None if it can only be a Hugging Face id."""
    root = Path(cfg.dataset)
    if not root.exists() and root.suffix not in _BUILDERS and re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", cfg.dataset):
        return None
    # Not Path.glob, which takes no absolute patterns.
    found = root.rglob("*") if root.is_dir() else map(Path, glob.glob(cfg.dataset, recursive=True))  # noqa: PTH207
    files = sorted(path for path in found if path.is_file() and path.suffix in _BUILDERS)
    if not files:
        problem = "no data files there" if root.exists() else "no such file or directory"
        raise UserError(f"dataset {cfg.dataset!r}: {problem}; allowed endings: {', '.join(_BUILDERS)}")
    return files


def _check_reachable(cfg: TextConfig) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        HfApi().dataset_info(cfg.dataset, timeout=HUB_TIMEOUT_S)
    except OfflineModeIsEnabled:
        return  # the user knows, and may have it in the cache; `datasets` says so at once if not
    except HUB_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        words = ", ".join(map(repr, MADE_HERE))
        raise UserError(
            f"dataset {cfg.dataset!r}: no such path here, and the hub does not give it ({reason}); allowed: "
            f"a local path, {words}, an id that can be reached, or one in the cache with HF_HUB_OFFLINE=1"
        ) from error


def source_identity(cfg: TextConfig) -> list[str]:
    """What tells that the source behind the same config has changed; a dataset on the hub is taken not to."""
    if cfg.dataset in MADE_HERE:
        return [MADE_HERE[cfg.dataset][1]()]
    return [f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in _local_files(cfg) or []]


@contextmanager
def _user_errors(cfg: TextConfig) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (ValueError, *HUB_ERRORS) as error:
        reason = " ".join(str(error).split())[:300]
        place = f"dataset_config {cfg.dataset_config!r}, dataset_split {cfg.dataset_split!r}"
        raise UserError(f"dataset {cfg.dataset!r} ({place}): {reason}") from error
