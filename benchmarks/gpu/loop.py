"""Stage: the training loop as a trial runs it, fed from shards in host memory, without Ray.

`python -m benchmarks.gpu.loop ... --only VARIANT LATENTS` is one loop alone, of which several share a GPU.
"""

import subprocess
import sys
from time import perf_counter
from typing import Any

import torch

from benchmarks.gpu.stage import HOOKPOINTS, TRAIN, Stage
from benchmarks.host_shards import HostShards
from models import SparseCoder, SparseCoderConfig
from models.training import TrainConfig, Trainer
from orchestrator.activations.stream import TrainStream
from orchestrator.trials.clock import Clock

K = 64
KERNELS = 10
"""Lines of the profiler's table."""
TOGETHER = (1, 2, 4)
"""Loops that share a GPU."""
ALONE_SHARDS = 4
"""Read by each of them, again and again: reading all of them takes longer than the loop."""


def main() -> None:
    """Note speed, waiting and the longest kernels of each variant; then what sharing a GPU gives."""
    stage = Stage.from_command_line("loop")
    if stage.rest:
        shards = stage.host_shards(TRAIN, HOOKPOINTS[0], ALONE_SHARDS)
        return alone(stage, shards, stage.rest[1], int(stage.rest[2]))
    shards = stage.host_shards(TRAIN, HOOKPOINTS[0])
    large = stage.sizes.expansion * shards.width
    for variant in ("mp", "topk"):
        run(stage, shards, variant, large, profile=True)
    for latents in dict.fromkeys((max(64, large // 8), large)):
        share(stage, latents)


def alone(stage: Stage, shards: HostShards, variant: str, latents: int) -> None:
    """Print this loop's speed, for the process that started it."""
    print(run(stage, shards, variant, latents, profile=False)["tokens_per_second"])


def run(stage: Stage, shards: HostShards, variant: str, latents: int, *, profile: bool) -> dict[str, Any]:
    """One loop; its metrics."""
    sizes, device = stage.sizes, stage.device
    torch.manual_seed(0)
    coder = SparseCoder(
        shards.width, SparseCoderConfig(variant=variant, num_latents=latents, k=min(K, latents)), device
    )
    cfg = TrainConfig(steps=10 * sizes.loop_steps, warmup_steps=1, micro_batch_tokens=sizes.micro_batch_tokens)
    trainer = Trainer(coder, cfg)
    with TrainStream(shards, len(shards), 0, device=device) as stream:
        trainer.initialise(*stream.first_shard())
        for _ in range(2):  # compiles what there is to compile
            trainer.step(*stream.next_batch(sizes.batch_tokens))
        trainer.raise_if_diverged()
        clock = Clock(device, 0.0)
        for _ in range(sizes.loop_steps):
            with clock.waiting():
                batch = stream.next_batch(sizes.batch_tokens)
            with clock.training():
                trainer.step(*batch)
        trainer.raise_if_diverged()
        metrics: dict[str, Any] = clock.metrics(sizes.batch_tokens)
        if profile:
            stage.note(variant=variant, M=latents, B=sizes.batch_tokens, steps=sizes.loop_steps, **metrics)
            _profile(stage, variant, trainer, stream)
    return metrics


def _profile(stage: Stage, variant: str, trainer: Trainer, stream: TrainStream) -> None:
    """The kernels (operations, on a CPU) that took longest over two steps."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    on_gpu = stage.device.type == "cuda"
    if on_gpu:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiler:
        for _ in range(2):
            trainer.step(*stream.next_batch(stage.sizes.batch_tokens))
        trainer.raise_if_diverged()

    def seconds(event: Any) -> float:
        return float(event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6

    events = sorted(profiler.key_averages(), key=seconds, reverse=True)
    total = sum(map(seconds, events))
    for event in events[:KERNELS]:
        took = seconds(event)
        stage.note(
            variant=variant, kernel=event.key[:80], calls=event.count, seconds=took, share_pct=100 * took / total
        )


def share(stage: Stage, latents: int) -> None:
    """Tokens a second of several equal loops at once, all together."""
    command = [
        sys.executable, "-m", "benchmarks.gpu.loop", "--out", str(stage.out), "--work", str(stage.work), "--pack",
        str(stage.pack), *(["--dry"] if stage.dry else []), "--only", "topk", str(latents),
    ]  # fmt: skip
    for count in TOGETHER[: 2 if stage.dry else None]:
        started = perf_counter()
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        printed = [process.communicate()[0].split() for process in running]
        if all(printed):
            together = sum(float(words[-1]) for words in printed)
            stage.note(
                M=latents, loops_at_once=count, tokens_per_second_together=together, seconds=perf_counter() - started
            )
        else:
            stage.note(M=latents, loops_at_once=count, failed="a loop ended without a result")


if __name__ == "__main__":
    main()
