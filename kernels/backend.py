"""The one place that decides whose code runs: Triton for float32 CUDA tensors, kernels.cpu for everything else."""

import os
from typing import Protocol

import torch
from torch import Tensor

from kernels.forms import Rates
from kernels.rules import Rules


class Backend(Protocol):
    """What both `kernels.cpu` and `kernels.gpu` offer. Arguments are checked and contiguous; indices are int64."""

    def rates(self, like: Tensor) -> Rates:
        """Costs of the pursuit's forms for tensors like this one."""

    def gram_dtype(self, like: Tensor, operands: torch.dtype | None) -> torch.dtype:
        """dtype of H for tensors like this one."""

    def gram(self, W_dec_MD: Tensor, W_enc_MD: Tensor, operands: torch.dtype | None) -> Tensor:
        """`W_dec W_encᵀ`, [M, M], in the dtype that `pursue` wants."""

    def pursue(
        self,
        form: str,
        r0_BD: Tensor,
        W_enc_MD: Tensor,
        b_enc_M: Tensor | None,
        W_dec: Tensor,
        gram_MM: Tensor | None,
        rules: Rules,
        operands: torch.dtype | None,
        excluded_B: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Activations [B, k], indices [B, k] and last residual [B, D]; `W_dec` is [M, D] or [k, M, D]."""

    def pursuit_backward(
        self,
        acts_BK: Tensor,
        indices_BK: Tensor,
        residual_BD: Tensor,
        W_enc_MD: Tensor,
        W_dec: Tensor,
        grad_acts_BK: Tensor,
        grad_residual_BD: Tensor,
        *,
        detach_residual: bool,
        deterministic: bool,
        tied: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Gradients at r_0, W_enc (None where `tied`: both are in the last), b_enc [M] and W_dec."""

    def topk_select(
        self, x_BD: Tensor, W_enc_MD: Tensor, b_enc_M: Tensor | None, k: int, operands: torch.dtype | None
    ) -> tuple[Tensor, Tensor]:
        """Activations [B, k], rectified and descending, and indices [B, k]."""

    def weighted_rows(self, values_BK: Tensor, indices_BK: Tensor, weight_MD: Tensor) -> Tensor:
        """`Σ_i values[b, i] · weight[indices[b, i]]`, [B, D]."""

    def row_products(self, rows_BD: Tensor, indices_BK: Tensor, weight_MD: Tensor) -> Tensor:
        """`⟨weight[indices[b, i]], rows[b]⟩`, [B, K]."""

    def add_outer_(
        self, out_MD: Tensor, indices_BK: Tensor, values_BK: Tensor, rows_BD: Tensor, *, deterministic: bool
    ) -> None:
        """`out[indices[b, i]] += values[b, i] · rows[b]`."""  # fmt: skip


def backend_of(tensor: Tensor) -> Backend:
    """The back end that computes with this tensor.

    Under Triton's interpreter (`TRITON_INTERPRET=1`) with `PURSUIT_BACKEND=triton`, CPU tensors take the Triton path
    too: that is how its tests run on machines without a GPU.
    """
    forced = os.environ.get("PURSUIT_BACKEND") == "triton"
    if tensor.dtype == torch.float32 and (tensor.is_cuda or forced):
        from kernels import gpu  # Triton need not be installed where no GPU is

        return gpu
    from kernels import cpu

    return cpu


def deterministic() -> bool:
    """Whether torch was asked for the same bits from run to run (`torch.use_deterministic_algorithms`)."""
    return torch.are_deterministic_algorithms_enabled()
