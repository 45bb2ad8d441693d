"""Do matching-pursuit SAEs reconstruct SmolLM2's activations better than TopK SAEs, over k and expansion?"""

import sys

from orchestrator.driver.cli import main
from orchestrator.grid.config import SweepConfig

PRESETS = {
    "laptop": SweepConfig(
        model=("packaged",),
        hookpoint=("layers.10", "layers.10.mlp"),
        k=(16, 64),
        expansion_factor=(8,),
        variant=("topk", "mp"),
        seed=(0,),
        dataset="python-docs",
        context_length=256,
        train_tokens=3 << 16,
        val_tokens=1 << 15,
        batch_tokens=1 << 11,
        warmup_steps=10,
        shard_tokens=1 << 14,
    ),
    "paper": SweepConfig(
        model=("HuggingFaceTB/SmolLM2-135M",),
        hookpoint=tuple(f"layers.{layer}{part}" for part in ("", ".mlp") for layer in (10, 15, 20)),
        k=(16, 32, 64, 128),
        expansion_factor=(64, 128),
        variant=("topk", "mp"),
        seed=(0,),
        dataset="EleutherAI/fineweb-edu-dedup-10b",
        streaming=True,
        context_length=2048,
        train_tokens=200_000 * 2048,  # the sequences of the study's scripts; the post does not say
        val_tokens=1 << 20,
        batch_tokens=1 << 16,
        warmup_steps=100,
        shard_tokens=1 << 16,
        checkpoint_every=200,
        scores="study",
    ),
}

if __name__ == "__main__":
    sys.exit(main(__doc__, "smollm_grid", PRESETS))
