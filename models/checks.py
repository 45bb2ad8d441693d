"""What a person hands to a coder, checked: each failure is a ValueError of one line that names it."""

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from kernels.checks import FLOATS


def is_whole(value: object) -> bool:
    """Whether it is an integer of any library's; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a finite number of any library's; True and False are none."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def check_operand(name: str, value: Tensor, weights: Tensor) -> None:
    """`value` and the weights must be such as can be computed with, in one place. Raises ValueError."""
    if weights.dtype not in FLOATS:
        raise ValueError(f"the coder's weights are {weights.dtype}; they must be float32 or float64: coder.float()")
    if not isinstance(value, Tensor) or value.is_complex():
        raise ValueError(
            f"{name} is {getattr(value, 'dtype', type(value).__name__)}; expected a tensor of real numbers"
        )
    if value.device != weights.device:
        raise ValueError(f"{name} is on {value.device}, the coder on {weights.device}; move one of them")


def as_floats(name: str, value: Tensor, weights: Tensor) -> Tensor:
    """`value` in the dtype of the weights. Raises ValueError for what cannot be computed with them."""
    check_operand(name, value, weights)
    return value.to(weights.dtype)


def check_mask(name: str, mask: Tensor, latents: int, weights: Tensor) -> None:
    """`mask` must say of each latent whether, [M] bool; a shorter one would be that of the first. Raises ValueError."""
    found = (getattr(mask, "dtype", type(mask).__name__), list(getattr(mask, "shape", [])))
    if found != (torch.bool, [latents]):
        raise ValueError(f"{name} is {found[0]} of shape {found[1]}; expected torch.bool of [{latents}]")
    if mask.device != weights.device:
        raise ValueError(f"{name} is on {mask.device}, the coder on {weights.device}; move one of them")


def check_latents(indices: Tensor, acts: Tensor, latents: int) -> None:
    """`indices` must name a latent for each of `acts` [B, K]. Raises ValueError.

    Their range is looked at on a CPU alone: a GPU would have to be waited for.
    """
    found = (getattr(indices, "dtype", type(indices).__name__), list(getattr(indices, "shape", [])))
    if found != (torch.int64, list(acts.shape)):
        raise ValueError(f"indices is {found[0]} of shape {found[1]}; expected torch.int64 of {list(acts.shape)}")
    if indices.device.type != "cpu" or torch.compiler.is_compiling() or not indices.numel():
        return
    first, last = (int(bound) for bound in torch.aminmax(indices))
    if first < 0 or last >= latents:
        raise ValueError(
            f"indices are from {first} to {last}; expected 0 to {latents - 1} (the number of latents is {latents})"
        )


def usable_device(device: str | int | torch.device) -> torch.device:
    """The device of that name. Raises ValueError where no tensor can be made on it."""
    try:
        return torch.empty(0, device=device).device
    except (AssertionError, RuntimeError, TypeError) as error:  # the kind of device decides which
        raise ValueError(f"device {str(device)!r}: cannot be used here ({str(error).splitlines()[0]})") from None
