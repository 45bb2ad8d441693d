"""Does matching pursuit recover a two-level tree of concepts better than TopK, with equal latents, k, steps and data?

The tree (formulas in orchestrator/toy/tree.py) and the sizes are those of Costa et al. 2025, arXiv 2506.03093, taken
from the authors' code: 20 atoms in 20 dimensions, 3 parents with 3 mutually exclusive children each and 8 leaves,
exactly one of these 11 active, atoms of one level correlated, the levels orthogonal, magnitudes 1.5 ± 0.25; 20 latents,
15,000 steps of 200 samples, learning rate 0.03. Not theirs: every variant has the same k = 2 (they stop a pursuit at a
residual of 0.05 and have BatchTopK aim at 1.36), the schedule and b_dec are this project's.
"""

import sys

from orchestrator.toy.config import ToyConfig
from orchestrator.toy.run import main

PRESETS = {
    "laptop": ToyConfig(
        correlation=(0.1, 0.5),
        k=(2,),
        variant=("topk", "mp-tied", "mp"),
        seed=(0, 1, 2),
        train_tokens=2_000 * 200,
        batch_tokens=200,
        lr=(3e-2,),
        warmup_steps=100,
    ),
    "paper": ToyConfig(
        correlation=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        k=(2,),
        variant=("topk", "mp-tied", "mp"),
        seed=(0, 1, 2, 3, 4),
        train_tokens=15_000 * 200,
        batch_tokens=200,
        lr=(3e-2,),
        warmup_steps=100,
    ),
}

if __name__ == "__main__":
    sys.exit(main(__doc__, "toy_hierarchy", PRESETS))
