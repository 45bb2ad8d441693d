"""The texts of a dataset on the Hugging Face hub, through `datasets`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from orchestrator.errors import UserError
from orchestrator.language_models.hub import HUB_ERRORS, HUB_TIMEOUT_S
from orchestrator.text.config import TextConfig
from orchestrator.text.formats import is_text
from orchestrator.text.reading import READ_ERRORS, in_words, listed


def check_hub_dataset(cfg: TextConfig, words: str) -> None:
    """Raise UserError if the dataset, its split or its text column does not exist, reading as little as possible.

    `words` says what else could be asked for.
    """
    _check_reachable(cfg.dataset, words)
    with _user_errors(cfg):
        if cfg.streaming:
            row = next(iter(_open(cfg).with_format("arrow").iter(batch_size=1)), None)
            if row is None:
                raise UserError(f"dataset {cfg.dataset!r}: split {cfg.dataset_split!r} is empty")
            columns = {field.name: is_text(field.type) for field in row.schema}
        else:  # opening it would download it
            from datasets import load_dataset_builder

            info = load_dataset_builder(cfg.dataset, cfg.dataset_config).info
            if info.splits and cfg.dataset_split.partition("[")[0] not in info.splits:
                raise UserError(f"dataset_split {cfg.dataset_split!r}: {cfg.dataset!r} has {', '.join(info.splits)}")
            kinds = {name: getattr(feature, "dtype", "") for name, feature in (info.features or {}).items()}
            columns = {name: kind in ("string", "large_string", "null") for name, kind in kinds.items()}
    if columns and not columns.get(cfg.text_column):
        problem = "not a column of text in" if cfg.text_column in columns else "not a column of"
        raise UserError(f"text_column {cfg.text_column!r}: {problem} {cfg.dataset!r}, which has {listed(columns)}")


def hub_texts(cfg: TextConfig) -> Iterator[str]:
    """The texts in order, empty ones left out. Raises UserError."""
    with _user_errors(cfg):
        rows = _open(cfg)
        if cfg.text_column not in (names := rows.column_names or [cfg.text_column]):
            raise UserError(
                f"text_column {cfg.text_column!r}: not a column of {cfg.dataset!r}, which has {listed(names)}"
            )
        rows = rows.select_columns([cfg.text_column])
    yield from texts_of(rows, cfg)


def texts_of(rows: Any, cfg: TextConfig) -> Iterator[str]:
    """The texts of a dataset of one column. Raises UserError naming the row."""
    number = 0
    try:
        for row in rows:
            number += 1
            text = row[cfg.text_column]
            if not isinstance(text, str | None):
                raise UserError(f"text_column {cfg.text_column!r}: row {number} of {cfg.dataset!r} holds no text")
            if text:
                yield text
    except UserError:
        raise
    except _errors() as error:
        raise UserError(f"dataset {cfg.dataset!r}: after row {number}: {_reason(error)}") from error


def _open(cfg: TextConfig) -> Any:
    from datasets import load_dataset

    return load_dataset(cfg.dataset, cfg.dataset_config, split=cfg.dataset_split, streaming=cfg.streaming)


def _check_reachable(dataset: str, words: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        HfApi().dataset_info(dataset, timeout=HUB_TIMEOUT_S)
    except OfflineModeIsEnabled:
        return  # the user knows, and may have it in the cache; `datasets` says so at once if not
    except (ValueError, *HUB_ERRORS) as error:  # an id that cannot be one is a ValueError
        raise UserError(
            f"dataset {dataset!r}: no such path here, and the hub does not give it ({in_words(error)[:200]}); allowed: "
            f"a local path, {words}, an id that can be reached, or one in the cache with HF_HUB_OFFLINE=1"
        ) from error


def _reason(error: BaseException) -> str:
    """What went wrong at the bottom: `datasets` wraps it in an error that says nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    return in_words(error)


def _errors() -> tuple[Any, ...]:
    from datasets.exceptions import DatasetsError

    # `datasets` also says with these that a configuration is unknown, or that a dataset is a script.
    return (DatasetsError, KeyError, TypeError, RuntimeError, pa.ArrowException, *READ_ERRORS, *HUB_ERRORS)


@contextmanager
def _user_errors(cfg: TextConfig) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except _errors() as error:
        place = f"dataset_config {cfg.dataset_config!r}, dataset_split {cfg.dataset_split!r}"
        raise UserError(f"dataset {cfg.dataset!r} ({place}): {_reason(error)}") from error
