"""Where documents come from: a dataset on the Hugging Face hub, local files, or the documentation in every Python."""

from collections.abc import Callable, Iterator

from orchestrator.errors import UserError
from orchestrator.text.config import TextConfig
from orchestrator.text.hub_datasets import check_hub_dataset, hub_texts
from orchestrator.text.local_files import LocalText, local_files
from orchestrator.text.python_docs import environment_identity, python_docs
from orchestrator.text.reading import local_texts, one_line

PYTHON_DOCS = "python-docs"
MADE_HERE: dict[str, tuple[Callable[[], Iterator[str]], Callable[[], str]]] = {
    PYTHON_DOCS: (python_docs, environment_identity),
}
"""Sources that every machine has, by the word that names them: their documents, and what tells that these changed."""


def check_text(cfg: TextConfig) -> None:
    """Raise UserError if the dataset, its split or its text column does not exist, reading as little as possible."""
    if cfg.dataset in MADE_HERE:
        _check_nothing_is_asked_of(cfg)
        return
    found = _local(cfg)
    if found is None:
        check_hub_dataset(cfg, ", ".join(map(repr, MADE_HERE)))
    elif next(local_texts(cfg.dataset, found, cfg.text_column), None) is None:
        n_bytes = sum(path.stat().st_size for path in found.paths)
        files = "1 file" if len(found.paths) == 1 else f"{len(found.paths)} files"
        raise UserError(f"dataset {cfg.dataset!r}: no text there, in {files} of {n_bytes} bytes")


def _check_nothing_is_asked_of(cfg: TextConfig) -> None:
    """What chooses within a dataset says that another dataset was meant than the one that is made here."""
    usual = TextConfig(dataset=cfg.dataset)
    for field in ("dataset_config", "dataset_split", "text_column"):
        if (given := getattr(cfg, field)) != getattr(usual, field):
            raise UserError(
                f"{field} {given!r}: {cfg.dataset} has none; give the dataset that it belongs to, --dataset"
            )


def documents(cfg: TextConfig) -> Iterator[str]:
    """The texts in order, read as they are asked for. Raises UserError for whatever goes wrong on the way."""
    if cfg.dataset in MADE_HERE:
        yield from MADE_HERE[cfg.dataset][0]()
    elif found := _local(cfg):
        yield from local_texts(cfg.dataset, found, cfg.text_column)
    else:
        yield from hub_texts(cfg)


def describe(cfg: TextConfig) -> str:
    """The dataset in words: its name and, for local files, how they become documents. Raises UserError."""
    found = None if cfg.dataset in MADE_HERE else _local(cfg)
    return f"{cfg.dataset} ({found})" if found else cfg.dataset


def is_local(cfg: TextConfig) -> bool:
    """Whether the dataset is files on this machine. Raises UserError."""
    return cfg.dataset not in MADE_HERE and _local(cfg) is not None


def source_identity(cfg: TextConfig) -> list[str]:
    """What tells that the source behind the same config has changed; a dataset on the hub is taken not to."""
    if cfg.dataset in MADE_HERE:
        return [MADE_HERE[cfg.dataset][1]()]
    found = _local(cfg)
    if found is None:
        return []
    with one_line(cfg.dataset):
        files = [f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in found.paths]
    return ["whole files", *files] if found.whole else files


def _local(cfg: TextConfig) -> LocalText | None:
    with one_line(cfg.dataset):
        return local_files(cfg.dataset, cfg.dataset_config, cfg.dataset_split)
