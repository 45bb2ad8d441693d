"""Documents as token ids, long ones in pieces: for each character a tokenizer takes a hundred bytes while it works."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_PIECE_CHARS = 1 << 20
_WINDOW_CHARS = 1 << 16  # at the end of a piece, where a place to cut is looked for
# Where tokenizers end a word anyway, the best first: between two lines, before a single space between words.
_PLACES = [re.compile(r"(?<=\S\n)(?=\S)"), re.compile(r"(?<=\S)(?= \S)")]


def bos_token(tokenizer: Any) -> int | None:
    """What the tokenizer itself puts before a sequence, if that is its BOS token."""
    first = tokenizer("a", return_attention_mask=False)["input_ids"][:1]
    return tokenizer.bos_token_id if first == [tokenizer.bos_token_id] else None


def encode(tokenizer: Any, texts: Sequence[str], most: int) -> Iterator[np.ndarray]:
    """The ids of each text in order, int32; of a text longer than 2^20 characters perhaps only the first `most`."""
    short = [text for text in texts if len(text) <= _PIECE_CHARS]
    encoded = iter(_ids(tokenizer, short) if short else [])
    for text in texts:
        yield next(encoded) if len(text) <= _PIECE_CHARS else _in_pieces(tokenizer, text, most)


def _ids(tokenizer: Any, texts: list[str]) -> list[np.ndarray]:
    # verbose: the tokenizer would warn of documents longer than the model's context, which we cut.
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    return [np.asarray(ids, np.int32) for ids in encoded]


def _in_pieces(tokenizer: Any, text: str, most: int) -> np.ndarray:
    parts, n, start = list[np.ndarray](), 0, 0
    while start < len(text) and n < most:
        end = _end_of_piece(text, start)
        parts += _ids(tokenizer, [text[start:end]])
        n, start = n + len(parts[-1]), end
    return np.concatenate(parts)


def _end_of_piece(text: str, start: int) -> int:
    end = start + _PIECE_CHARS
    if end >= len(text):
        return len(text)
    window = end - _WINDOW_CHARS
    for place in _PLACES:
        if found := [match.start() for match in place.finditer(text, window, end)]:
            return found[-1]
    return end
