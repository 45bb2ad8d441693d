"""Small trainers and batches that training steps and their continuation are tested on."""

import torch
from torch import Tensor

from models import VARIANTS, SparseCoder, SparseCoderConfig
from models.training import TrainConfig, Trainer

TRANSCODERS = [name for name, recipe in VARIANTS.items() if recipe.transcode]
WIDTH = 16


def make_trainer(
    variant: str = "topk",
    *,
    d_in: int = WIDTH,
    num_latents: int = 64,
    k: int = 4,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **config: object,
) -> Trainer:
    config = {"steps": 100, "warmup_steps": 5, "lr": 1e-2} | config
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        coder = SparseCoder(d_in, SparseCoderConfig(variant=variant, num_latents=num_latents, k=k))
    return Trainer(coder.to(dtype), TrainConfig(**config))


def make_batches(count: int, tokens: int = 64, d_in: int = WIDTH) -> list[Tensor]:
    """Sparse sums of 32 fixed directions, away from the origin."""
    generator = torch.Generator().manual_seed(7)
    directions = torch.nn.functional.normalize(torch.randn(32, d_in, generator=generator), dim=1)
    strengths = torch.rand(count * tokens, 32, generator=generator)
    strengths *= torch.rand(strengths.shape, generator=generator) < 0.1
    noise = 0.02 * torch.randn(count * tokens, d_in, generator=generator)
    return list((strengths @ directions + noise + 0.3).split(tokens))


def target_of(trainer: Trainer, batch: Tensor) -> Tensor | None:
    """A transcoder's target: no linear function of the input, of another scale and away from 0. None otherwise."""
    if not trainer.coder.cfg.recipe.transcode:
        return None
    width = batch.shape[1]
    mix = torch.randn(width, width, generator=torch.Generator().manual_seed(8)).to(batch.dtype)
    return 5 * torch.relu((batch - 0.3) @ mix) + 1


def start(trainer: Trainer, batches: list[Tensor]) -> None:
    """Initialise on all of the batches."""
    everything = torch.cat(batches)
    trainer.initialise(everything, target_of(trainer, everything))


def step(trainer: Trainer, batch: Tensor) -> float:
    """One step; the FVU of its batch."""
    return float(trainer.step(batch, target_of(trainer, batch)))


def train(trainer: Trainer, batches: list[Tensor]) -> list[float]:
    """FVU of each batch."""
    start(trainer, batches)
    return [step(trainer, batch) for batch in batches]


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.parameters.items()}
