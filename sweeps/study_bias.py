"""Does matching pursuit lose to TopK on the residual stream, or does an output without a bias?

The post finds MP behind TopK at k = 16 and 32 on the residual stream, level or better from 64, and better on MLP
outputs. The code that it links to adds `b_dec` to TopK's output and not to MP's (docs/study.md): `mp-study` is that
code's MP, `mp-uncentred` has no bias anywhere, `mp` has it where TopK has it.
"""

import sys
from dataclasses import replace

from orchestrator.driver.cli import main
from sweeps import smollm_grid

VARIANTS = ("topk", "mp", "mp-uncentred", "mp-study")
LAYERS = (10, 15, 20)
K = (16, 32, 64, 128)
PRESETS = {
    "laptop": replace(
        smollm_grid.PRESETS["laptop"],
        hookpoint=tuple(f"layers.{layer}{part}" for part in ("", ".mlp") for layer in LAYERS), variant=VARIANTS, k=K,
        seed=(0, 1), scores="none",
    ),
    "paper": replace(
        smollm_grid.PRESETS["paper"], variant=VARIANTS, k=K, expansion_factor=(64,), seed=(0, 1), scores="none",
    ),
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(__doc__, "study_bias", PRESETS))
