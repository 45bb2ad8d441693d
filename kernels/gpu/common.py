"""Device functions shared by the matching-pursuit kernels, and what the launchers ask about the device."""

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETER_PROGRAMS = 2
"""Programs of a persistent grid on CPU tensors, where Triton's interpreter runs them one after another."""
FORBIDDEN = tl.constexpr(-1e38)
"""Score of a latent that must not be chosen: not −inf, which `mark` would turn into NaN."""

ROUNDING = {torch.float16: 2**-11, torch.bfloat16: 2**-8, torch.float32: 2**-16}
"""Relative error of rounding to each type; for float32 that of a sum of D ≤ 8192 rounded products."""


def multiprocessors(tensor: Tensor) -> int:
    """How many programs a persistent grid has, at one per multiprocessor."""
    if tensor.is_cuda:
        return torch.cuda.get_device_properties(tensor.device).multi_processor_count
    return INTERPRETER_PROGRAMS


def capability(tensor: Tensor) -> int:
    """Major compute capability of the tensor's device; on CPU tensors that of the H100."""
    return torch.cuda.get_device_capability(tensor.device)[0] if tensor.is_cuda else 9


@triton.jit
def mark(scores, place, PLACES: tl.constexpr):
    """Scores that carry `place` < PLACES, a power of two, in their lowest bits: one max then finds best and place.

    Among positive scores that agree in all higher bits, the lowest place is the largest.
    """
    bits = scores.to(tl.int32, bitcast=True)
    return ((bits & -PLACES) | (PLACES - 1 - place)).to(tl.float32, bitcast=True)


@triton.jit
def marked_place(marked, PLACES: tl.constexpr):
    return PLACES - 1 - (marked.to(tl.int32, bitcast=True) & (PLACES - 1))
