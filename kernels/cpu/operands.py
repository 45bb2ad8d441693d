"""Low-precision copies of a dictionary, for products that only find candidates.

bfloat16, or int8 with one scale per row: each number is then off by at most half a grain, the row's largest over 127.
"""

from typing import NamedTuple

import torch
from torch import Tensor

ROWS_AT_ONCE = 256
"""Rows of a dictionary that are converted or multiplied at a time, where the whole need not be held."""
INT8_WIDTH = 64
"""Narrower rows gain nothing from int8."""
OUTLIER = 127 / 3
"""Largest element of a row, as a multiple of their mean magnitude, up to which int8 serves.

Beyond, most elements are no larger than a grain, and their errors are no longer independent of one another."""
KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
"""As csrc/common.h numbers them."""


def operand_dtype() -> torch.dtype:
    """For scores that will be updated: bfloat16 where the processor multiplies it faster, else float32."""
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def screening_dtype(width: int) -> torch.dtype:
    """For scores that last a few steps: int8 where there are instructions for it, at twice bfloat16's rate."""
    if width >= INT8_WIDTH and hasattr(torch, "_int_mm") and torch.cpu._is_vnni_supported():
        return torch.int8
    return operand_dtype()


def check_operands(operands: torch.dtype | None) -> None:
    """float16 has no fast products on CPU. Raises ValueError."""
    if operands == torch.float16:
        raise ValueError("operands is torch.float16; expected torch.bfloat16 or torch.float32 on CPU")


def has_outliers(rows_ND: Tensor) -> Tensor:
    """Of each row, whether int8 would leave too little of its smaller elements, [N] bool."""
    largest_N = torch.linalg.vector_norm(rows_ND, ord=torch.inf, dim=1)
    sum_N = torch.linalg.vector_norm(rows_ND, ord=1, dim=1)
    found_N: Tensor = largest_N * rows_ND.shape[1] > OUTLIER * sum_N
    return found_N


class Operand(NamedTuple):
    """A dictionary's rows in low precision."""

    rows_MD: Tensor
    grain_M: Tensor | None
    """What 1 stands for in each row, for int8."""

    @property
    def score_dtype(self) -> torch.dtype:
        """Of what `scores_of` writes: int8 products are summed, and left, in int32."""
        return torch.int32 if self.rows_MD.dtype == torch.int8 else self.rows_MD.dtype

    def scores_of(self, x_TD: Tensor, out_TM: Tensor) -> Tensor | None:
        """Products of all rows with float32 tokens; returns the tokens' grains [T] where scores are in such units."""
        if self.grain_M is None:
            torch.mm(x_TD.to(self.rows_MD.dtype), self.rows_MD.T, out=out_TM)
            return None
        tokens = make_operand(x_TD, torch.int8)
        torch._int_mm(tokens.rows_MD, self.rows_MD.T, out=out_TM)
        return tokens.grain_M


def make_operand(rows_MD: Tensor, dtype: torch.dtype) -> Operand:
    """float32 rows in `dtype`."""
    if dtype != torch.int8:
        return Operand(rows_MD.to(dtype), None)
    grain_M = (rows_MD.abs().amax(dim=1) / 127).clamp_(min=torch.finfo(torch.float32).tiny)
    out_MD = torch.empty(rows_MD.shape, dtype=torch.int8)
    for first in range(0, len(rows_MD), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        out_MD[part] = (rows_MD[part] / grain_M[part, None]).round_()
    return Operand(out_MD, grain_M)
