"""Who makes the mean: parts add up to what the outputs have of it, and a latent that is the mean is found."""

import pytest
import torch

from maintenance.mean_latents import made_of_latents
from models import SparseCoder, SparseCoderConfig


@pytest.fixture
def x_TD() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(500, 16) + 3 * torch.nn.functional.one_hot(torch.tensor(5), 16)


def uncentred(k: int) -> SparseCoder:
    torch.manual_seed(1)
    return SparseCoder(16, SparseCoderConfig(variant="mp-uncentred", num_latents=64, k=k))


@pytest.mark.parametrize("k", [1, 4])
def test_the_parts_add_up_to_what_the_outputs_have_of_the_mean(x_TD: torch.Tensor, k: int) -> None:
    coder = uncentred(k)
    coder.input_scale = 0.5
    mean_D = x_TD.double().mean(dim=0)
    with torch.no_grad():
        out_TD = coder(x_TD).sae_out
    found = out_TD.double().mean(dim=0) @ mean_D / mean_D.pow(2).sum()
    assert made_of_latents(coder, x_TD).total == pytest.approx(float(found), abs=1e-6)


def test_a_latent_that_is_the_mean_is_found(x_TD: torch.Tensor) -> None:
    coder = uncentred(1)
    for weight in (coder.W_dec, coder.W_enc):
        weight.data.zero_()[7, 5] = 1
    made = made_of_latents(coder, x_TD)
    assert made.cosine > 0.99 and made.rate == made.choices > 0.99 and made.often == 1
    assert made.largest == made.by_often == made.total == pytest.approx(0.99, abs=0.02)
