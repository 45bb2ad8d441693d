"""What the machine can do, measured in the same run: matrix products and memory traffic."""

from collections.abc import Callable
from functools import partial
from time import perf_counter

import torch

_DTYPES = (torch.float32, torch.bfloat16)
_REPEATS = 5
_LONG = 0.1
"""Seconds of one product, whose rate is then told as well as it can be."""


def measure_rates(device: torch.device) -> dict[str, float]:
    """Best of several: flops per second of square products by dtype, bytes per second read and copied."""
    largest, numbers = (8192, 1 << 30) if device.type == "cuda" else (2048, 1 << 27)
    rates = {str(dtype).removeprefix("torch."): _products(dtype, largest, device) for dtype in _DTYPES}
    source = torch.ones(numbers, device=device)
    target = torch.empty_like(source)
    num_bytes = source.element_size() * numbers
    rates["read"] = num_bytes / best_time(lambda: source.sum(), device)
    rates["copy"] = 2.0 * num_bytes / best_time(lambda: target.copy_(source), device)
    return rates


def _products(dtype: torch.dtype, largest: int, device: torch.device) -> float:
    """Flops per second of the largest, or of smaller ones that take long already: bfloat16 on a CPU without it."""
    for size in (largest // 8, largest // 4, largest // 2, largest):
        a = torch.randn(size, size, device=device).to(dtype)
        seconds = best_time(partial(torch.mm, a, a, out=torch.empty_like(a)), device)
        if seconds > _LONG:
            break
    return 2.0 * size**3 / seconds


def best_time(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of several runs, the first left in."""
    times = []
    for _ in range(_REPEATS + 1):
        start = perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(perf_counter() - start)
    return min(times)
