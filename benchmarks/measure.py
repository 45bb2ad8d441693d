"""Check one contestant against the float64 reference, then time it."""

from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from benchmarks.contestants import Contestant, Operation, Output, Step
from benchmarks.memory import PeakMemory
from benchmarks.problem import Problem
from kernels import reference as definitions

FVU_TOLERANCE = 1e-4
BFLOAT16_FVU_TOLERANCE = 5e-3
"""For contestants whose products run in bfloat16 without a second look."""
MAX_STEPS = 5
"""Timed steps in one process."""
SLOW_S = 8.0
"""Of a contestant whose first step takes longer, that step is the measurement."""
REFERENCE_TOKENS = 256
_WARM_UP_TOKENS, _WARM_UP_LATENTS = 64, 256


@dataclass(frozen=True)
class Reference:
    """What the float64 definition gives."""

    fvu: float
    indices_BK: Tensor
    active_BK: Tensor
    """Where the activation is positive: elsewhere the index means nothing."""


@dataclass(frozen=True)
class Measurement:
    """One process's findings about one contestant at one case."""

    fvu: float
    reference_fvu: float
    tolerance: float
    agreement: float | None
    """Share of the reference's selections that were made, where the contestant tells its own."""
    forward_s: list[float] = field(default_factory=list)
    step_s: list[float] = field(default_factory=list)
    extra_bytes: int | None = None
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        """False also where the FVU is not a number."""
        return abs(self.fvu - self.reference_fvu) <= self.tolerance

    def as_json(self) -> dict[str, Any]:
        """For the parent process."""
        return asdict(self)


@torch.no_grad()
def reference(operation: Operation, problem: Problem) -> Reference:
    """`kernels.reference` in float64, a few tokens at a time."""
    W_MD, b_dec_D = problem.W_MD.double(), problem.b_dec_D.double()
    squared, parts = 0.0, []
    for x_TD in torch.split(problem.x_BD.double(), REFERENCE_TOKENS):
        if operation == "topk":
            acts, indices = definitions.topk_encode(x_TD - b_dec_D, W_MD, None, problem.k)
            error = definitions.sparse_decode(acts, indices, W_MD) + b_dec_D - x_TD
        else:
            acts, indices, error = definitions.matching_pursuit(
                x_TD - b_dec_D, W_MD, None, W_MD, problem.k,
                repeats=operation == "mp-tied", sliced=operation == "mp-sliced",
            )  # fmt: skip
        squared += float(error.pow(2).sum())
        parts.append((indices, acts > 0))
    return Reference(squared / problem.variance, *(torch.cat(column) for column in zip(*parts, strict=True)))


def agreement(operation: Operation, indices_BK: Tensor, expected: Reference) -> float:
    """Share of the reference's selections that were made: at the same step, or for TopK in whatever order."""
    if operation == "topk":
        wanted, have = expected.indices_BK.sort(dim=1).values, indices_BK.sort(dim=1).values
        place = torch.searchsorted(have, wanted).clamp_(max=have.shape[1] - 1)
        return float((have.gather(1, place) == wanted).double().mean())
    return float((indices_BK == expected.indices_BK)[expected.active_BK].double().mean())


def measure(contestant: Contestant, problem: Problem, expected: Reference, seconds: float) -> Measurement:
    """Check, and time for about `seconds` if the check passes. Raises what the contestant raises."""
    device = problem.x_BD.device
    warm_up = Problem(
        problem.x_BD[:_WARM_UP_TOKENS], problem.W_MD[:_WARM_UP_LATENTS], problem.b_dec_D,
        min(problem.k, len(problem.W_MD[:_WARM_UP_LATENTS])),
    )  # fmt: skip
    _step(contestant.build(warm_up), device)
    step = contestant.build(problem)
    memory = PeakMemory(device)
    output, *first = _step(step, device)
    extra_bytes = memory.extra_bytes()
    found = Measurement(
        fvu=float(output.error_BD.double().pow(2).sum()) / problem.variance,
        reference_fvu=expected.fvu,
        tolerance=BFLOAT16_FVU_TOLERANCE if contestant.bfloat16_on_cuda and device.type == "cuda" else FVU_TOLERANCE,
        agreement=None if output.indices_BK is None else agreement(contestant.operation, output.indices_BK, expected),
        extra_bytes=extra_bytes,
        facts=step.facts,
    )
    if found.correct:
        del output  # its graph would lie beside the next step's
        _repeat(step, device, first, found, seconds)
    return found


def _repeat(step: Step, device: torch.device, first: list[float], found: Measurement, seconds: float) -> None:
    times = [first] if first[1] > SLOW_S and device.type == "cpu" else []  # on a GPU the first one compiles kernels
    while not times or (sum(step_s for _, step_s in times) < seconds and len(times) < MAX_STEPS):
        _, *latest = _step(step, device)
        times.append(latest)
    found.forward_s.extend(forward_s for forward_s, _ in times)
    found.step_s.extend(step_s for _, step_s in times)


def _step(step: Step, device: torch.device) -> tuple[Output, float, float]:
    """One training step: what it returned, seconds until the loss, seconds until the gradients.

    The weights are written before it, as an optimiser would, so that nothing made from them can be kept.
    """
    with torch.no_grad():
        for weight in step.parameters:
            weight.grad = None
            weight.mul_(1)
    _finish(device)
    start = perf_counter()
    output = step.forward()
    _finish(device)
    forward_s = perf_counter() - start
    output.loss.backward()  # type: ignore[no-untyped-call]
    _finish(device)
    return output, forward_s, perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
