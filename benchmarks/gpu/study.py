"""Stage: cells of the study at its own size, in the order of interest, until the time is over."""

import time
from typing import Any

import torch

from benchmarks.gpu.stage import HOOKPOINTS, TRAIN, VAL, Stage
from benchmarks.host_shards import HostShards
from models import SparseCoder, SparseCoderConfig
from models.evaluation import Evaluation
from models.training import TrainConfig, Trainer
from orchestrator.activations.stream import TrainStream

COMPARED = ("topk", "mp", "mp-uncentred", "mp-study")
LR = 1e-3
DEAD_SHARE = 4
"""A latent is dead when it fired in none of the last quarter of the run."""


def main() -> None:
    """Train and score one cell after the other; `check` ends this process when its time is over."""
    stage = Stage.from_command_line("study")
    for hookpoint in HOOKPOINTS:
        shards, held_out = (stage.host_shards(split, hookpoint) for split in (TRAIN, VAL))
        for k in stage.sizes.study_k:
            for variant in COMPARED:
                train(stage, {"hookpoint": hookpoint, "variant": variant, "k": k}, shards, held_out)


def train(stage: Stage, cell: dict[str, Any], shards: HostShards, held_out: HostShards) -> None:
    """One cell: training FVU on the way, held-out FVU and dead latents in the end."""
    sizes, device, started = stage.sizes, stage.device, time.perf_counter()
    batch_tokens = sizes.batch_tokens // 2
    steps = sizes.study_steps
    cfg = TrainConfig(
        steps=steps, lr=LR, warmup_steps=max(1, steps // 10), micro_batch_tokens=sizes.micro_batch_tokens,
        dead_window_tokens=max(1, steps * batch_tokens // DEAD_SHARE),
    )  # fmt: skip
    torch.manual_seed(0)
    coder_cfg = SparseCoderConfig(variant=cell["variant"], expansion_factor=sizes.expansion, k=cell["k"])
    coder = SparseCoder(shards.width, coder_cfg, device)
    trainer = Trainer(coder, cfg)
    cell = cell | {"M": coder.num_latents}
    with TrainStream(shards, len(shards), 0, tokens=steps * batch_tokens, device=device) as stream:
        trainer.initialise(*stream.first_shard())
        for step in range(1, steps + 1):
            fvu = trainer.step(*stream.next_batch(batch_tokens))
            if step % max(1, steps // 4) == 0:
                trainer.raise_if_diverged()
                stage.note(**cell, step=step, train_fvu=float(fvu), seconds=time.perf_counter() - started)
    evaluation = Evaluation(coder, coder.gram(sizes.val_tokens))
    for shard in held_out.shards:
        x_TD, massive_T = torch.from_numpy(shard.values_TD).float(), torch.from_numpy(shard.massive_T)
        size = sizes.micro_batch_tokens
        for x_BD, massive_B in zip(torch.split(x_TD, size), torch.split(massive_T, size), strict=True):
            evaluation.add(x_BD.to(device), massive_B.to(device))
    metrics = evaluation.metrics()
    stage.note(
        **cell, steps=steps, B=batch_tokens, val_fvu=metrics["val/fvu"], mean_share=metrics["val/mean_share"],
        dead_pct=trainer.dead_pct(), seconds=time.perf_counter() - started,
    )  # fmt: skip


if __name__ == "__main__":
    main()
