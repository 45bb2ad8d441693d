"""How often each form of the pursuit chooses as the float64 definition does, on several kinds of dictionary.

    python -m benchmarks.agreement

It prints a Markdown table, and takes about a minute on two cores.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.activations import cached_activations, load_activations
from kernels import matching_pursuit, reference
from models import SparseCoder, SparseCoderConfig
from models.training import TrainConfig, Trainer

TOKENS, K, LATENTS, TRAINING_STEPS, TRAINING_TOKENS = 512, 64, 4608, 150, 2048
ROWS = 8192
"""Activations to read: the first TOKENS are encoded, all train, the last LATENTS make the crowded dictionary."""

Problem = tuple[Tensor, Tensor, Tensor | None, Tensor]
"""r_0, W_enc, b_enc and W_dec."""


def problems(x_ND: Tensor) -> dict[str, Problem]:
    """Dictionaries as training starts with them, as it makes them, and as no training would."""
    torch.manual_seed(0)
    centred_ND = x_ND - x_ND.mean(dim=0)
    random_MD = normalize(torch.randn(LATENTS, x_ND.shape[1]), dim=1)
    crowded_MD = normalize(normalize(centred_ND[-LATENTS:], dim=1) + 0.7 * random_MD, dim=1)
    coder = SparseCoder(x_ND.shape[1], SparseCoderConfig(variant="mp", num_latents=LATENTS, k=32))
    trainer = Trainer(coder, TrainConfig(steps=TRAINING_STEPS, warmup_steps=20))
    trainer.initialise(x_ND)
    for _ in range(TRAINING_STEPS):
        trainer.step(x_ND[torch.randperm(len(x_ND))[:TRAINING_TOKENS]])
    r0_BD = x_ND[:TOKENS] * coder.input_scale - (0 if coder.b_dec is None else coder.b_dec.detach())
    trained = (r0_BD, coder.W_enc.detach(), coder.b_enc, coder.W_dec.detach())
    return {
        "random unit vectors": (centred_ND[:TOKENS], random_MD, None, random_MD),
        f"trained for {TRAINING_STEPS} steps": trained,
        "activations mixed with noise": (centred_ND[:TOKENS], crowded_MD, None, crowded_MD),
    }


def main() -> None:
    """Print the table."""
    x_ND = load_activations(cached_activations(ROWS))
    print("| dictionary | form | selections | tokens that differ anywhere | FVU relative to float64 |")
    print("| --- | --- | --- | --- | --- |")
    for name, (r0, W_enc, b_enc, W_dec) in problems(x_ND).items():
        bias = None if b_enc is None else b_enc.double()
        exact = reference.matching_pursuit(r0.double(), W_enc.double(), bias, W_dec.double(), K)
        found = {
            form: matching_pursuit(r0, W_enc, b_enc, W_dec, K, form=form)[1:]
            for form in ("update", "screen", "recompute")
        }
        found["float32 definition"] = reference.matching_pursuit(r0, W_enc, b_enc, W_dec, K)[1:]
        for form, (indices, last) in found.items():
            same, ratio = indices == exact[1], float(last.double().pow(2).sum() / exact[2].pow(2).sum()) - 1
            share, differ = 100 * float(same.double().mean()), int((~same).any(dim=1).sum())
            print(f"| {name} | {form} | {share:.3f} % | {differ} of {TOKENS} | {ratio:+.1e} |")


if __name__ == "__main__":
    main()
