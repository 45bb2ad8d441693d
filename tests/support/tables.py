"""What tests of orchestrator/activations share."""

import numpy as np
import pyarrow as pa
from torch import Tensor

from orchestrator.activations.tables import to_table

N, L, D = 3, 16, 32


def table_of(values_NLD: Tensor, dtype: str = "float16", first_sequence: int = 0) -> pa.Table:
    tokens_NL = np.arange(values_NLD[..., 0].numel(), dtype=np.int32).reshape(values_NLD.shape[:2])
    return to_table(values_NLD, tokens_NL, "layers.2", dtype, first_sequence)
