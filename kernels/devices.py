"""What GPUs do in a second, by kind: what decides between the forms of the pursuit, and what a plan reckons with.

Rates are data sheets'; how much of them is reached was measured on an H200 on 29 November 2026
(benchmarks/results/h200.md) and is taken to hold for the others.
"""

import functools
from typing import NamedTuple

import torch

from kernels.forms import Rates

PRODUCT_SHARE = 0.52
"""Of the bfloat16 rate, in the pursuit's recompute form: 513 of 989 TFLOP/s."""
UPDATE_SECONDS = 1.33e-12
"""Of one update of a score in its update form. Its two bytes of H take 0.4 ps of an H200's memory and 0.6 of an H100's:
what it waits for is the choice before it, which takes as long on both."""
FLOAT32_SHARE = 0.6
"""Of the float32 rate, in the language model; assumed."""
SPARSE_PASSES = 9
"""Times a row of float32 is read or written in the time of an active latent's decode and backward: 18 ms for 65,536
tokens with 64 of them, D = 576."""
WEIGHT_PASSES = 10
"""Times that each weight is read or written in a step, by gradients, norms and Adam; assumed."""


class Sheet(NamedTuple):
    """One kind of GPU."""

    memory: float
    """Bytes a second."""
    bfloat16: float
    """Flops a second of dense products."""
    float32: float

    @property
    def product(self) -> float:
        """Flops a second that a product of a trial reaches."""
        return PRODUCT_SHARE * self.bfloat16

    @property
    def rates(self) -> Rates:
        """Of the pursuit's forms, in flops of such a product; H is in float16 (`kernels.gpu.gram_dtype`)."""
        return Rates(update=UPDATE_SECONDS * self.product, gram_itemsize=torch.float16.itemsize)

    def passes(self, count: float) -> float:
        """Flops of such a product in the time in which a float32 number is read or written that many times."""
        return 4 * count / self.memory * self.product


SHEETS = {
    "H200": Sheet(4.8e12, 989e12, 67e12),
    "H100": Sheet(3.35e12, 989e12, 67e12),
    "A100": Sheet(2.04e12, 312e12, 19.5e12),
}
"""By a part of the device's name."""
OTHERS = SHEETS["H100"]


def sheet_at(device: torch.device) -> Sheet:
    """That of the GPU; an H100's for a CPU."""
    return sheet_of(_name(device))


def this_sheet() -> Sheet:
    """That of this machine's GPU; an H100's where it has none."""
    return sheet_at(torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"))


def assumed_flops() -> float:
    """Flops a second of a language model on a GPU like this machine's."""
    return FLOAT32_SHARE * this_sheet().float32


def sheet_of(name: str) -> Sheet:
    """The sheet of a device of that name."""
    return next((sheet for kind, sheet in SHEETS.items() if kind in name), OTHERS)


@functools.cache
def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""
