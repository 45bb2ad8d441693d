"""Text as blocks of tokens.

Documents are tokenised once and joined with the tokenizer's EOS token, which also comes first, then cut into blocks.
Training blocks are shuffled then (`block_order`); those of validation keep the order of the text. Where the tokenizer
begins its own sequences with a BOS token, as Gemma's and Llama's do, every block begins with one. A document belongs to
training or to validation by a hash of its text, so no text is in both, whatever is asked for.

Shape suffixes: N blocks, L positions.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from orchestrator.atomic import atomic_directory
from orchestrator.errors import UserError
from orchestrator.saved import read_json
from orchestrator.text import block_order
from orchestrator.text.block_files import read_blocks
from orchestrator.text.config import TextConfig
from orchestrator.text.encoding import bos_token, encode
from orchestrator.text.held_out import held_out_share, is_held_out
from orchestrator.text.shortage import Seen
from orchestrator.text.sources import check_text, documents, source_identity

__all__ = ["TextConfig", "TokenBlocks", "check_text", "tokenise"]

logger = logging.getLogger(__name__)

_BATCH_DOCUMENTS = 256
_BATCH_CHARS = 1 << 18  # bounds memory, and how much is read beyond what is needed
_LOG_EVERY_S = 10.0


@dataclass(frozen=True)
class TokenBlocks:
    """Blocks of tokens, mapped from disk, no document being in both parts."""

    train: np.ndarray
    """int32 [N, L]."""
    val: np.ndarray
    """int32 [N, L]."""
    fingerprint: str
    """Identifies the tokenizer, the text config and the content of the blocks."""
    n_documents: int
    """How many documents went into the blocks."""


def tokenise(
    cfg: TextConfig, tokenizer: Any, *, context_length: int, train_tokens: int, val_tokens: int, out_dir: Path
) -> TokenBlocks:
    """Blocks of `context_length` tokens: `train_tokens // context_length` of them, and as many from `val_tokens`.

    They are written to a directory below `out_dir` named by a hash of the request, and reused when it is there already.
    Memory grows by 8 bytes a block. Raises UserError where a count is less than one block
    (`val_tokens=0` means none), and where the dataset runs out of text.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("model: its tokenizer has no EOS token, which has to separate documents")
    for field, value in {"train_tokens": train_tokens, "val_tokens": val_tokens}.items():
        if value < context_length and (field, value) != ("val_tokens", 0):
            raise UserError(f"{field} {value}: less than one block; allowed is context_length {context_length} or more")
    asked = {"train": train_tokens, "val": val_tokens}
    bos = bos_token(tokenizer)
    if bos is not None and context_length == 1:
        raise UserError("context_length 1: must be 2 or more, since this model's sequences begin with a BOS token")
    blocks = {name: tokens // context_length for name, tokens in asked.items()}
    content = {"tokenizer": _tokenizer_hash(tokenizer), "text": asdict(cfg), "context_length": context_length}
    content |= {"shuffled": block_order.SEED} | ({} if bos is None else {"bos": bos})
    request = _hash(json.dumps([content, blocks, source_identity(cfg)], sort_keys=True).encode())
    directory = Path(out_dir) / f"tokens-{request[:16]}"
    if not directory.is_dir():
        with atomic_directory(directory) as unfinished:
            sides = {name: _Side(unfinished / f"{name}.npy", asked[name], context_length, bos) for name in asked}
            _fill(sides["train"], sides["val"], cfg, tokenizer)
            block_order.shuffle_blocks(unfinished / "train.npy")
            content |= {name: side.digest.hexdigest() for name, side in sides.items()}
            description = {
                "fingerprint": _hash(json.dumps(content, sort_keys=True).encode())[:32],
                "n_documents": sum(side.documents for side in sides.values()),
                **content,
            }
            (unfinished / "tokens.json").write_text(json.dumps(description, indent=2), encoding="utf-8")
    return open_blocks(directory, blocks, context_length)


def open_blocks(directory: Path, blocks: dict[str, int], context_length: int) -> TokenBlocks:
    """What lies in `directory`: as many blocks of both splits, of that length. Raises UserError for anything else."""
    remedy = f"remove {directory}, and the text is tokenised again"
    description = read_json(directory / "tokens.json", remedy)
    fingerprint, documents = description.get("fingerprint"), description.get("n_documents")
    if not isinstance(fingerprint, str) or not isinstance(documents, int):
        raise UserError(f"{directory / 'tokens.json'}: is damaged (it has no fingerprint or no n_documents); {remedy}")
    found = {}
    for name, count in blocks.items():
        try:
            found[name] = read_blocks(directory / f"{name}.npy")
        except (OSError, ValueError) as error:
            raise UserError(f"{directory}: its blocks are damaged ({error}); {remedy}") from None
        if found[name].shape != (count, context_length):
            has = " x ".join(map(str, found[name].shape))
            raise UserError(f"{directory}: its blocks are damaged ({name}.npy has {has} tokens); {remedy}")
    return TokenBlocks(found["train"], found["val"], fingerprint, documents)


class _Side:
    """The blocks of training or of validation, being written to disk."""

    def __init__(self, path: Path, asked: int, context_length: int, bos: int | None) -> None:
        blocks_NL = open_memmap(path, mode="w+", dtype=np.int32, shape=(asked // context_length, context_length))
        if bos is not None:
            blocks_NL[:, 0] = bos
        self.text_NL = blocks_NL if bos is None else blocks_NL[:, 1:]
        self.asked = asked
        self.filled = 0
        self.documents = 0
        self.digest = hashlib.sha256()

    @property
    def full(self) -> bool:
        return self.filled == self.text_NL.size

    def add(self, ids: np.ndarray) -> None:
        part = np.asarray(ids[: self.text_NL.size - self.filled], np.int32)
        if len(part):
            self.text_NL[np.unravel_index(np.arange(self.filled, self.filled + len(part)), self.text_NL.shape)] = part
            self.filled += len(part)
            self.documents += 1
            self.digest.update(part.tobytes())


def _fill(train: _Side, val: _Side, cfg: TextConfig, tokenizer: Any) -> None:
    asked = train.text_NL.size + val.text_NL.size
    share = held_out_share(val.text_NL.size / asked)
    started = last_logged = time.monotonic()
    seen = Seen()
    for texts in _batches(seen.passing(documents(cfg))):
        sides = [val if is_held_out(text, share) else train for text in texts]
        kept = [(text, side) for text, side in zip(texts, sides, strict=True) if not side.full]
        if kept:
            missing = asked - train.filled - val.filled
            for (_, side), ids in zip(kept, encode(tokenizer, [text for text, _ in kept], missing), strict=True):
                side.add(np.concatenate([[tokenizer.eos_token_id], ids]))
        done, now = train.filled + val.filled, time.monotonic()
        if done == asked:
            seconds = now - started
            logger.info("tokenised %d tokens in %.1f s (%.0f a second)", done, seconds, done / max(seconds, 1e-9))
            return
        if now - last_logged > _LOG_EVERY_S:
            last_logged = now
            logger.info("tokenised %d of %d tokens (%.0f a second)", done, asked, done / (now - started))
    field, side = ("val_tokens", val) if train.full else ("train_tokens", train)
    kind = "validation" if side is val else "training"
    raise UserError(
        f"{field} {side.asked}: dataset {cfg.dataset!r} has only {side.filled} {kind} tokens: "
        f"{seen.explain(kind, side.documents)}"
    )


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    chars = 0
    for text in texts:
        batch.append(text)
        chars += len(text)
        if len(batch) == _BATCH_DOCUMENTS or chars >= _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _tokenizer_hash(tokenizer: Any) -> str:
    """Identity of a tokenizer by what it does to text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = json.loads(backend.to_str()) if backend else {"vocab": tokenizer.get_vocab()}
    # These two depend on how the tokenizer was last called.
    state |= {"truncation": None, "padding": None, "eos": tokenizer.eos_token_id}
    return _hash(json.dumps(state, sort_keys=True).encode())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
