"""What tests of models share."""

import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from models import SparseCoder
from tests.support.coders import sum_of_twins
from tests.support.definitions import plain_forward, plain_fvu, plain_weights

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def unit_parameters(coder: SparseCoder) -> set[str]:
    """Parameters whose rows are to be held at length 1."""
    recipe = coder.cfg.recipe
    decoder = set() if recipe.transcode or recipe.free_decoder else {"W_dec"}
    held = {"W_sub"} | decoder | ({"encoder.weight"} if recipe.unit_encoder else set())
    return held & dict(coder.named_parameters()).keys()


def assert_equals_the_definition(
    coder: SparseCoder, x: Tensor, y: Tensor | None, *, ties: bool = False, tolerance: float = 1e-9
) -> None:
    """Outputs, and gradients of the FVU plus some function of the activations, at every parameter and at the input."""
    ours, theirs, weights = x.clone().requires_grad_(), x.clone().requires_grad_(), plain_weights(coder)
    variance = torch.tensor(3.0, dtype=torch.float64) if len(x) == 1 else None  # one token has none of its own
    out = coder(ours, y, variance=variance)
    expected, acts, indices = plain_forward(coder, weights, theirs)
    target = theirs if y is None else y
    expected_fvu = plain_fvu(target, expected) if variance is None else ((target - expected) ** 2).sum() / variance
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(out.sae_out, expected, **close)
    torch.testing.assert_close(out.latent_acts, acts, **close)
    torch.testing.assert_close(out.fvu, expected_fvu, **close)
    assert out.auxk_loss == 0
    if not ties:
        active = acts.abs() > 1e-12
        assert torch.equal(out.latent_indices[active], indices[active])
    probe = torch.linspace(-1, 1, acts.numel(), dtype=torch.float64).view_as(acts)
    (out.fvu + (out.latent_acts * probe).sum()).backward()
    (expected_fvu + (acts * probe).sum()).backward()
    close["atol"] *= 1 + float(theirs.grad.abs().max())
    torch.testing.assert_close(ours.grad, theirs.grad, **close)
    for name, parameter in coder.named_parameters():
        wanted = torch.zeros_like(parameter) if weights[name].grad is None else weights[name].grad
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        pair = (sum_of_twins(name, found), sum_of_twins(name, wanted)) if ties else (found, wanted)
        close["atol"] = tolerance * (1 + float(wanted.abs().max()))
        torch.testing.assert_close(*pair, msg=lambda text, name=name: f"{name}: {text}", **close)
