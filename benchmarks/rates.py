"""What the machine can do, measured in the same run: matrix products and memory traffic."""

from collections.abc import Callable
from functools import partial
from time import perf_counter

import torch

_REPEATS = 5


def measure_rates(device: torch.device) -> dict[str, float]:
    """Best of several: flops per second of square products by dtype, bytes per second read and copied."""
    size, numbers = (8192, 1 << 30) if device.type == "cuda" else (2048, 1 << 27)
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(size, size, device=device).to(dtype)
        seconds = best_time(partial(torch.mm, a, a, out=torch.empty_like(a)), device)
        rates[str(dtype).removeprefix("torch.")] = 2.0 * size**3 / seconds
    source = torch.ones(numbers, device=device)
    target = torch.empty_like(source)
    num_bytes = source.element_size() * numbers
    rates["read"] = num_bytes / best_time(lambda: source.sum(), device)
    rates["copy"] = 2.0 * num_bytes / best_time(lambda: target.copy_(source), device)
    return rates


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
