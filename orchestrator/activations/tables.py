"""Shards as Arrow tables: one per hookpoint for a fixed block of tokens, in memory and on disk.

A table is a pure function of the model, the tokens and the hookpoint, so it can be recomputed wherever it was lost and
its file on disk is named by its content. Shape suffixes: N sequences, L positions, T = N·L tokens, D width.
"""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from orchestrator.activations.arrow_files import DamagedFile, read_batch
from orchestrator.activations.excluded_tokens import massive_tokens, usable_tokens
from orchestrator.activations.shards import ActivationError, Shard
from orchestrator.atomic import atomic_file

FLOAT16_MAX = 65504.0
_SAID_WITHIN = 4096
"""Bytes of a shard's file that hold its schema."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardSpec:
    """What the activations of given tokens depend on."""

    model: str
    fingerprint: str
    hookpoints: tuple[str, ...]
    dtype: str
    """float16 or float32, of stored activations."""

    def file(self, cache_dir: Path, hookpoint: str, tokens_NL: np.ndarray) -> Path:
        """Where the shard of these tokens lies on disk."""
        content = hashlib.sha256(tokens_NL.tobytes())
        content.update(repr((self.fingerprint, hookpoint, self.dtype, tokens_NL.shape)).encode())
        name = content.hexdigest()[:32]
        return cache_dir / name[:2] / f"{name}.arrow"


def to_table(
    activations_NLD: Tensor, tokens_NL: np.ndarray, hookpoint: str, dtype: str, first_sequence: int
) -> pa.Table:
    """Activations [N, L, D] of any float dtype as a table of T rows.

    Columns: `activation` (fixed-shape tensor of D), `token_id` and `position` int32, `sequence_id` int64, `norm`
    float32 (of the activation, before rounding). Raises ActivationError for NaN, inf, and values beyond float16.
    """
    sequences, length, width = activations_NLD.shape
    flat_TD = activations_NLD.reshape(-1, width).float()
    largest = float(flat_TD.abs().max())
    if not np.isfinite(largest):
        count = int((~torch.isfinite(flat_TD)).any(dim=1).sum())
        raise ActivationError(f"hookpoint {hookpoint}: {count} of {len(flat_TD)} tokens have NaN or inf activations")
    if dtype == "float16" and largest > FLOAT16_MAX:
        raise ActivationError(
            f"hookpoint {hookpoint}: an activation of {largest:.4g} exceeds float16's {FLOAT16_MAX:.0f}; "
            "store float32 instead (--shard-dtype float32)"
        )
    values_TD = flat_TD.numpy().astype(dtype)
    return pa.table(
        {
            "activation": pa.FixedShapeTensorArray.from_numpy_ndarray(values_TD),
            "token_id": pa.array(tokens_NL.reshape(-1).astype(np.int32)),
            "position": pa.array(_positions(sequences, length)),
            "sequence_id": pa.array(np.repeat(np.arange(sequences, dtype=np.int64) + first_sequence, length)),
            "norm": pa.array(flat_TD.norm(dim=1).numpy()),
        }
    ).replace_schema_metadata({"hookpoint": hookpoint})


def _positions(sequences: int, length: int) -> np.ndarray:
    """Of every token in its sequence, int32 [T]."""
    return np.tile(np.arange(length, dtype=np.int32), sequences)


def write_table(table: pa.Table, path: Path) -> None:
    """Write Arrow IPC so that `path` is either absent or complete."""
    with (
        atomic_file(path) as unfinished,
        pa.OSFile(str(unfinished), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def read_table(path: Path, hookpoint: str, dtype: str, tokens_NL: np.ndarray) -> pa.Table | None:
    """The table of these tokens at `path`, mapped into memory; None where there is none or it is no whole shard.

    Nothing that the file says of sizes costs memory: it must be as long as its width and these tokens make it.
    """
    if not path.is_file():
        return None
    try:
        table = read_batch(path, _schema(_width_of(path, dtype, tokens_NL.size), dtype, hookpoint), tokens_NL.size)
        if not np.array_equal(table["token_id"].to_numpy(), tokens_NL.reshape(-1)):
            raise DamagedFile("is of other tokens")
        if not np.array_equal(table["position"].to_numpy(), _positions(*tokens_NL.shape)):
            raise DamagedFile("has other positions")
    except DamagedFile as error:
        log.warning("%s is damaged and will be computed again: %s", path, error)
        return None
    return table


def _width_of(path: Path, dtype: str, tokens: int) -> int:
    """Of the activations, as the file begins by saying; no more than there is room for. Raises DamagedFile."""
    with path.open("rb") as file:
        said = re.search(rb'"shape":\[(\d{1,9})\]', file.read(_SAID_WITHIN))
    width = int(said[1]) if said else 0
    if not 0 < width * np.dtype(dtype).itemsize * tokens < path.stat().st_size:
        raise DamagedFile(f"does not hold activations of {tokens} tokens")
    return width


def _schema(width: int, dtype: str, hookpoint: str) -> pa.Schema:
    activation = pa.fixed_shape_tensor(pa.from_numpy_dtype(np.dtype(dtype)), [width], permutation=[0])
    types = {"token_id": pa.int32(), "position": pa.int32(), "sequence_id": pa.int64(), "norm": pa.float32()}
    return pa.schema({"activation": activation, **types}, metadata={"hookpoint": hookpoint})


def table_bytes(tokens: int, widths: Sequence[int], dtype: str) -> int:
    """Size in the object store of one shard's tables, in bytes."""
    return sum(tokens * (width * np.dtype(dtype).itemsize + 20) for width in widths)


def open_shard(
    table: pa.Table, target: pa.Table | None = None, *, exclude_first: bool, massive_multiple: float
) -> Shard:
    """View a table, and a transcoder's `target` of the same tokens, without copying."""
    tables = [table] if target is None else [table, target]
    usable_T = usable_tokens(table["position"].to_numpy(), exclude_first)
    massive_T = massive_tokens([each["norm"].to_numpy() for each in tables], usable_T, massive_multiple)
    values = [each["activation"].chunk(0).to_numpy_ndarray() for each in tables]
    return Shard(values[0], usable_T, massive_T, *values[1:])
