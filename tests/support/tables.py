"""What tests of orchestrator/activations share."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from torch import Tensor

from orchestrator.activations.tables import read_table, to_table

N, L, D = 3, 16, 32


def table_of(values_NLD: Tensor, dtype: str = "float16", first_sequence: int = 0) -> pa.Table:
    return to_table(values_NLD, tokens_of(*values_NLD.shape[:2]), "layers.2", dtype, first_sequence)


def tokens_of(sequences: int = N, length: int = L) -> np.ndarray:
    """The tokens of `table_of`."""
    return np.arange(sequences * length, dtype=np.int32).reshape(sequences, length)


def read_back(path: Path, sequences: int = N, length: int = L, dtype: str = "float16") -> pa.Table | None:
    """What `table_of` gave, from a file."""
    return read_table(path, "layers.2", dtype, tokens_of(sequences, length))
