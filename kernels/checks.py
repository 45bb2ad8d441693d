"""Argument checks shared by the public operations; each failure is one line naming the argument."""

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64)
OPERANDS = (None, torch.float32, torch.bfloat16, torch.float16)


def check_matrix(name: str, value: Tensor, columns: int | None = None) -> None:
    """`value` must be a 2-D float32 or float64 matrix, with `columns` columns if given. Raises ValueError."""
    if value.ndim != 2 or (columns is not None and value.shape[1] != columns):
        wanted = f"[rows, {columns}]" if columns is not None else "[rows, columns]"
        raise ValueError(f"{name} has shape {list(value.shape)}; expected {wanted}")
    check_floats(name, value)


def check_same_shape(name: str, value: Tensor, other: Tensor) -> None:
    """`value` must have the shape of `other`. Raises ValueError."""
    if value.shape != other.shape:
        raise ValueError(f"{name} has shape {list(value.shape)}; expected {list(other.shape)}")


def check_floats(name: str, value: Tensor) -> None:
    """`value` must be float32 or float64, and finite where torch detects anomalies. Raises ValueError."""
    if value.dtype not in FLOATS:
        raise ValueError(f"{name} is {value.dtype}; expected torch.float32 or torch.float64")
    if torch.compiler.is_compiling():  # values are not known then
        return
    if torch.is_anomaly_enabled() and not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name} holds NaN or infinity; expected finite numbers")


def check_vector(name: str, value: Tensor, length: int) -> None:
    """`value` must be a vector of `length` floats. Raises ValueError."""
    if value.shape != (length,):
        raise ValueError(f"{name} has shape {list(value.shape)}; expected [{length}]")
    check_floats(name, value)


def check_k(k: int, num_latents: int) -> None:
    """`k` latents must exist. Raises ValueError."""
    if not 1 <= k <= num_latents:
        raise ValueError(f"k is {k}; expected 1 to {num_latents} (the number of latents)")


def check_indices(indices: Tensor, acts: Tensor) -> None:
    """`indices` must be int64, one for each of `acts`. Raises ValueError."""
    if indices.shape != acts.shape or indices.dtype != torch.int64:
        raise ValueError(
            f"indices is {indices.dtype} of shape {list(indices.shape)}; expected torch.int64 of {list(acts.shape)}"
        )


def check_operands(operands: torch.dtype | None) -> None:
    """`operands` must be a dtype that matrix units take, or None. Raises ValueError."""
    if operands not in OPERANDS:
        raise ValueError(f"operands is {operands}; expected None, torch.float32, torch.bfloat16 or torch.float16")


def check_alike(**tensors: Tensor) -> None:
    """All tensors must share one dtype and one device. Raises ValueError."""
    (first_name, first), *others = tensors.items()
    for name, value in others:
        if value.dtype != first.dtype or value.device != first.device:
            raise ValueError(
                f"{name} is {value.dtype} on {value.device}; expected {first.dtype} on {first.device} as {first_name}"
            )


def as_weights(value: Tensor, weight: Tensor) -> Tensor:
    """`value` in the dtype of `weight` where autocast has rounded it on its way here; as it is otherwise."""
    if value.dtype != weight.dtype and torch.is_autocast_enabled(value.device.type):
        return value.to(weight.dtype)
    return value
