"""What GPUs do in a second, by kind: what decides between the forms of the pursuit, and what a plan reckons with.

From data sheets until `make gpu-check` has measured them; a matrix product is taken to reach 60 % of its sheet's rate.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

PRODUCT_SHARE = 0.6


class Sheet(NamedTuple):
    """One kind of GPU."""

    memory: float
    """Bytes a second."""
    bfloat16: float
    """Flops a second of dense products."""
    float32: float


SHEETS = {
    "H200": Sheet(4.8e12, 989e12, 67e12),
    "H100": Sheet(3.35e12, 989e12, 67e12),
    "A100": Sheet(2.04e12, 312e12, 19.5e12),
}
"""By a part of the device's name."""
OTHERS = SHEETS["H100"]


def update_flops(like: Tensor) -> float:
    """Flops of a bfloat16 product in the time of one update of a score, which reads two bytes of H, where `like` is."""
    sheet = sheet_of(_name(like.device))
    return 2 / sheet.memory * PRODUCT_SHARE * sheet.bfloat16


def assumed_flops() -> float:
    """Flops a second of float32 products on a GPU like this machine's; an H100's where it has none."""
    name = _name(torch.device("cuda", 0)) if torch.cuda.is_available() else ""
    return PRODUCT_SHARE * sheet_of(name).float32


def sheet_of(name: str) -> Sheet:
    """The sheet of a device of that name."""
    return next((sheet for kind, sheet in SHEETS.items() if kind in name), OTHERS)


@functools.cache
def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""
