"""What tests of kernels share."""

import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

SETTINGS = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


WAYS = {
    "float64": (torch.float64, True, 1e-8),
    "float32": (torch.float32, True, 1e-3),
    "float32 without a compiler": (torch.float32, False, 1e-3),
}
"""dtype, whether the compiled extension may serve, and the tolerance that a ratio of squares affords in it."""


def compare(ours: list[Tensor], exact: list[Tensor], outputs: tuple, expected: tuple, tolerance: float) -> None:
    """Activations, residual and the gradients of a function of both."""
    (acts, _, residual), (ref_acts, _, ref_residual) = outputs, expected
    size = 1 + float(ref_acts.detach().abs().max())
    torch.testing.assert_close(acts.double(), ref_acts, rtol=tolerance, atol=tolerance * size)
    torch.testing.assert_close(residual.double(), ref_residual, rtol=tolerance, atol=tolerance * size)
    weights = torch.linspace(-1, 1, acts.numel(), dtype=torch.float64).view(acts.shape)
    (residual.pow(2).sum() + (acts * weights.to(acts)).sum()).backward()
    (ref_residual.pow(2).sum() + (ref_acts * weights).sum()).backward()
    for mine, theirs in zip(ours, exact, strict=True):
        wanted = torch.zeros_like(theirs) if theirs.grad is None else theirs.grad
        found = torch.zeros_like(mine) if mine.grad is None else mine.grad
        atol = 30 * tolerance * (float(wanted.abs().max()) + size)
        torch.testing.assert_close(found.double(), wanted, rtol=30 * tolerance, atol=atol)
