"""Sparse coders with random weights, and inputs for them."""

import torch
from torch import Tensor

from models import VARIANTS, SparseCoder, SparseCoderConfig

AUTOENCODERS = [name for name, recipe in VARIANTS.items() if not recipe.transcode]
TRANSCODERS = [name for name, recipe in VARIANTS.items() if recipe.transcode]
TOLERANCE = {torch.float64: {"rtol": 1e-9, "atol": 1e-9}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}


def make_coder(
    d_in: int = 10,
    *,
    scale: float = 1.0,
    target_scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **config: object,
) -> SparseCoder:
    """A coder whose every parameter is random: biases not 0, encoder and decoder no longer alike."""
    config = {"k": 3, "num_latents": 40} | config
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        coder = SparseCoder(d_in, SparseCoderConfig(**config)).to(dtype)
    with torch.no_grad():
        for parameter in coder.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    coder.set_decoder_norm_to_unit_norm()
    coder.input_scale, coder.target_scale = scale, target_scale
    return coder


def make_tokens(tokens: int, d_in: int = 10, *, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    """Random tokens away from the origin."""
    generator = torch.Generator().manual_seed(seed)
    return (0.5 + 2 * torch.randn(tokens, d_in, generator=generator, dtype=torch.float64)).to(dtype)


def make_target(variant: str, tokens: int, d_in: int = 10, *, dtype: torch.dtype = torch.float32) -> Tensor | None:
    """What a transcoder is to predict: unlike the input, and of another size. None for an autoencoder."""
    return 0.3 * make_tokens(tokens, d_in, dtype=dtype, seed=77) if variant in TRANSCODERS else None


def make_twins(coder: SparseCoder) -> None:
    """The second half of the latents equals the first in every matrix, so that scores tie. An even number of them."""
    with torch.no_grad():
        for name, parameter in coder.named_parameters():
            if (axis := latent_axis(name)) is not None:
                first, second = parameter.data.chunk(2, dim=axis)
                second.copy_(first)


def latent_axis(name: str) -> int | None:
    """The axis of a parameter along which latents lie."""
    return {"encoder.weight": 0, "encoder.bias": 0, "W_dec": -2, "W_sub": 0}.get(name)


def sum_of_twins(name: str, grad: Tensor) -> Tensor:
    """A gradient with those of two latents that are alike added: which one of them was chosen is of no account."""
    axis = latent_axis(name)
    return grad if axis is None else sum(grad.chunk(2, dim=axis))
