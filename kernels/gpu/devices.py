"""What decides between the forms on each kind of GPU: from data sheets until `make gpu-check` has measured it.

An update of a score reads two bytes of H; a matrix product is taken to reach 60 % of the sheet's dense bfloat16 rate.
"""

import functools

import torch
from torch import Tensor

PRODUCT_SHARE = 0.6
SHEETS = {"H200": (4.8e12, 989e12), "H100": (3.35e12, 989e12), "A100": (2.04e12, 312e12)}
"""Part of the device's name: bytes a second of its memory, flops a second of dense bfloat16 products."""
OTHERS = SHEETS["H100"]


def update_flops(like: Tensor) -> float:
    """Flops of a bfloat16 product in the time of one update of a score, where this tensor is."""
    memory, product = next((sheet for name, sheet in SHEETS.items() if name in _name(like.device)), OTHERS)
    return 2 / memory * PRODUCT_SHARE * product


@functools.cache
def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""
