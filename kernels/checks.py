"""Argument checks shared by the public operations; each failure is one line naming the argument."""

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64)


def check_matrix(name: str, value: Tensor, columns: int | None = None) -> None:
    """`value` must be a 2-D float32 or float64 matrix, with `columns` columns if given. Raises ValueError."""
    if value.ndim != 2 or (columns is not None and value.shape[1] != columns):
        wanted = f"[rows, {columns}]" if columns is not None else "[rows, columns]"
        raise ValueError(f"{name} has shape {list(value.shape)}; expected {wanted}")
    if value.dtype not in FLOATS:
        raise ValueError(f"{name} is {value.dtype}; expected torch.float32 or torch.float64")


def check_vector(name: str, value: Tensor, length: int) -> None:
    """`value` must be a vector of `length` numbers. Raises ValueError."""
    if value.shape != (length,):
        raise ValueError(f"{name} has shape {list(value.shape)}; expected [{length}]")


def check_k(k: int, num_latents: int) -> None:
    """`k` latents must exist. Raises ValueError."""
    if not 1 <= k <= num_latents:
        raise ValueError(f"k is {k}; expected 1 to {num_latents} (the number of latents)")


def check_alike(**tensors: Tensor) -> None:
    """All tensors must share one dtype and one device. Raises ValueError."""
    (first_name, first), *others = tensors.items()
    for name, value in others:
        if value.dtype != first.dtype or value.device != first.device:
            raise ValueError(
                f"{name} is {value.dtype} on {value.device}; expected {first.dtype} on {first.device} as {first_name}"
            )
