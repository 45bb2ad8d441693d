"""The AuxK loss of every variant against its definition in float64."""

import pytest
import torch

from models import VARIANTS
from models.auxk import best_of_dead
from models.coder import total_variance
from tests.support.coders import TOLERANCE, make_coder, make_target, make_tokens
from tests.support.definitions import plain_auxk, plain_weights


@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.3, 2.0)], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("dead_latents", [1, 20, 40])
@pytest.mark.parametrize("variant", VARIANTS)
def test_auxk_and_its_gradients_equal_the_definition(variant, dead_latents, scales):
    coder = make_coder(variant=variant, scale=scales[0], target_scale=scales[1], dtype=torch.float64)
    x, y, weights = make_tokens(12, dtype=torch.float64), make_target(variant, 12, dtype=torch.float64), None
    dead = torch.zeros(40, dtype=torch.bool)
    dead[torch.randperm(40, generator=torch.Generator().manual_seed(0))[:dead_latents]] = True
    weights = plain_weights(coder)
    loss, expected = coder(x, y, dead_mask=dead).auxk_loss, plain_auxk(coder, weights, x, dead, y)
    assert loss > 0
    torch.testing.assert_close(loss, expected, **TOLERANCE[torch.float64])
    loss.backward()
    expected.backward()
    for name, parameter in coder.named_parameters():
        if name not in ("encoder.weight", "encoder.bias", "W_dec"):
            assert parameter.grad is None or not parameter.grad.any(), name
            continue
        torch.testing.assert_close(parameter.grad, weights[name].grad, msg=name, **TOLERANCE[torch.float64])
        by_latent = parameter.grad if parameter.ndim < 3 else parameter.grad.transpose(0, 1)
        assert not by_latent[~dead].any(), f"AuxK moves living latents through {name}"
        assert by_latent[dead].any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_auxk_is_zero_without_dead_latents(variant):
    coder = make_coder(variant=variant)
    assert coder(make_tokens(15), dead_mask=torch.zeros(40, dtype=torch.bool)).auxk_loss == 0


@pytest.mark.parametrize("dead_latents", [0, 1, 20, 40])
@pytest.mark.parametrize("variant", ["topk", "mp"])
def test_ruling_out_living_latents_equals_scoring_the_dead_alone(variant, dead_latents, monkeypatch):
    """What a GPU does, which is not asked how many are dead, against what a CPU does."""
    dead, x = torch.zeros(40, dtype=torch.bool), make_tokens(12, dtype=torch.float64)
    dead[torch.randperm(40, generator=torch.Generator().manual_seed(1))[:dead_latents]] = True
    coders = [make_coder(variant=variant, dtype=torch.float64) for _ in range(2)]
    expected = coders[0](x, dead_mask=dead).auxk_loss
    monkeypatch.setattr("models.auxk.best_of_few_dead", best_of_dead)
    encoded = coders[1].encode(x)
    error = x - coders[1].decode(encoded.latent_acts, encoded.latent_indices)
    loss = coders[1]._auxk(x, encoded, error, dead) / total_variance(x)
    torch.testing.assert_close(loss, expected, **TOLERANCE[torch.float64])
    loss.backward()
    if dead_latents:
        expected.backward()
    for one, other in zip(*(coder.parameters() for coder in coders), strict=True):
        none = torch.zeros_like(one)
        grads = [none if parameter.grad is None else parameter.grad for parameter in (one, other)]
        torch.testing.assert_close(*grads, **TOLERANCE[torch.float64])
