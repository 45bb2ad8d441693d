"""Params, which MLflow keeps as texts, as columns of the types that they were written from."""

from collections.abc import Callable, Sequence

import pyarrow as pa

_READ: tuple[tuple[Callable[[str], object], pa.DataType], ...] = (
    ({"True": True, "False": False}.__getitem__, pa.bool_()),
    (int, pa.int64()),
    (float, pa.float64()),
)


def typed_column(name: str, texts: Sequence[str | None]) -> pa.Array:
    """int64, float64, bool or string, whichever all texts were made of; None, and the text of it, is null."""
    found = [None if text in (None, "None") else text for text in texts]
    given = {text for text in found if text is not None}
    if not name.endswith("fingerprint"):  # which may have digits alone
        for read, kind in _READ:
            if given and all(_is_of(read, text) for text in given):
                return pa.array([None if text is None else read(text) for text in found], kind)
    return pa.array(found, pa.string())


def _is_of(read: Callable[[str], object], text: str) -> bool:
    """Whether it says of what is read the very same: neither 007 nor 1_000 is a number here, nor what int64 lacks."""
    try:
        value = read(text)
    except (KeyError, ValueError):
        return False
    return str(value) == text and (not isinstance(value, int) or abs(value) < 2**63)
