"""Which latents make the mean of the activations: the table of docs/study.md, for coders whose output has no bias.

python -m maintenance.mean_latents runs/NAME layers.10 --tokens runs/tokens/FINGERPRINT/val.npy

Shape suffixes: N sequences, L positions, T tokens, B tokens of a batch, D width, M latents, K active latents.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models import SparseCoder
from orchestrator.activations.excluded_tokens import massive_tokens
from orchestrator.grid.config import SweepConfig
from orchestrator.language_models.loading import LanguageModel
from orchestrator.text.block_files import read_blocks

BATCH_TOKENS = 2048
OFTEN = 0.5
"""Of the tokens: a latent that is active on more of them says little about any one."""

HEAD = """\
| coder | of the mean | by latents on most tokens | how many | choices a token | by one | its tokens | its cosine |
|---|---|---|---|---|---|---|---|
"""


class MadeOfLatents(NamedTuple):
    """How much of the mean x̄ of the activations the latents make; a part is ⟨a latent's mean output, x̄⟩ / ‖x̄‖²."""

    total: float
    """All parts together: 1 where the mean output has x̄ whole."""
    largest: float
    rate: float
    """The fraction of tokens on which the latent of the largest part is active."""
    cosine: float
    """Between its decoder row and x̄."""
    often: int
    """Latents that are active on more than `OFTEN` of the tokens."""
    by_often: float
    """Their parts together."""
    choices: float
    """How many of a token's k choices fall on them, on average."""


def main() -> None:
    """Print a row per coder of the sweep at the hookpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="directory of a sweep over the packaged model")
    parser.add_argument("hookpoint")
    parser.add_argument("--tokens", type=Path, required=True, help="the sweep's held-out tokens")
    given = parser.parse_args()
    coders = sorted(given.sweep.glob(f"trials/packaged-{given.hookpoint}-*/coder"))
    if not coders:
        parser.error(f"{given.sweep}: no trained coder at {given.hookpoint}")
    x_TD = held_out(given.tokens, given.hookpoint)
    sys.stdout.write(HEAD)
    for directory in coders:
        made = made_of_latents(SparseCoder.load_from_disk(directory), x_TD)
        sys.stdout.write(
            f"| {directory.parent.name} | {made.total:.3f} | {made.by_often:.3f} | {made.often} | "
            f"{made.choices:.1f} | {made.largest:.3f} | {made.rate:.1%} | {made.cosine:.3f} |\n"
        )


def held_out(tokens: Path, hookpoint: str) -> Tensor:
    """Activations of all positions but the first and massive ones, float32 [T, D]: what `val/fvu` is of by default."""
    tokens_NL = torch.from_numpy(np.array(read_blocks(tokens))).long()
    captured = LanguageModel.load("packaged").capture(tokens_NL, (hookpoint,))[hookpoint].float()
    x_TD = captured[:, 1:].flatten(0, 1)
    norm_T = x_TD.norm(dim=1).numpy()
    massive_T = massive_tokens([norm_T], np.ones_like(norm_T, dtype=bool), SweepConfig.massive_multiple)
    return x_TD[~torch.from_numpy(massive_T)]


@torch.no_grad()
def made_of_latents(coder: SparseCoder, x_TD: Tensor) -> MadeOfLatents:
    """What the coder's latents make of the mean of `x`, [T, D] float32."""
    acts_M, active_M = (torch.zeros(coder.num_latents, dtype=torch.float64) for _ in range(2))
    for x_BD in torch.split(x_TD, BATCH_TOKENS):
        acts_BK, indices_BK, _ = coder.encode(x_BD)
        acts_M.index_add_(0, indices_BK.flatten(), acts_BK.flatten().double() / coder.output_scale)
        active_M.index_add_(0, indices_BK.flatten(), (acts_BK != 0).flatten().double())
    mean_D, rows_MD = x_TD.double().mean(dim=0), coder.W_dec.double()
    parts_M = acts_M / len(x_TD) * (rows_MD @ mean_D) / mean_D.pow(2).sum()
    top, often_M = int(parts_M.argmax()), active_M > OFTEN * len(x_TD)
    return MadeOfLatents(
        total=float(parts_M.sum()),
        largest=float(parts_M[top]),
        rate=float(active_M[top] / len(x_TD)),
        cosine=float(torch.cosine_similarity(rows_MD[top], mean_D, dim=0)),
        often=int(often_M.sum()),
        by_often=float(parts_M[often_M].sum()),
        choices=float(active_M[often_M].sum() / len(x_TD)),
    )


if __name__ == "__main__":
    main()
