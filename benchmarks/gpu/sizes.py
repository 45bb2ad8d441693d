"""How large everything is: at the study's size on a GPU, at a toy's with `--dry`."""

from dataclasses import dataclass

from benchmarks.problem import Case


@dataclass(frozen=True)
class Sizes:
    """Sizes of all stages."""

    train_tokens: int
    """Of text that goes through the language model; no more than there are."""
    val_tokens: int
    shard_tokens: int
    agreement: tuple[Case, ...]
    wide: Case
    """At a width of `WIDE` instead of the model's."""
    speed: Case
    speed_seconds: float
    batch_tokens: int
    micro_batch_tokens: int
    expansion: int
    loop_steps: int
    study_steps: int
    study_k: tuple[int, ...]
    """In the order of interest."""


WIDE = 2048

FULL = Sizes(
    train_tokens=3 << 20, val_tokens=1 << 17, shard_tokens=1 << 17,
    agreement=tuple(Case(512, latents, k) for latents in (36_864, 73_728) for k in (64, 16, 128)),
    wide=Case(512, 65_536, 64), speed=Case(65_536, 36_864, 64), speed_seconds=2.0,
    batch_tokens=1 << 16, micro_batch_tokens=1 << 14, expansion=64, loop_steps=20,
    study_steps=400, study_k=(64, 16, 128, 32),
)  # fmt: skip
DRY = Sizes(
    train_tokens=4096, val_tokens=1024, shard_tokens=1024, agreement=(Case(64, 256, 8),), wide=Case(32, 256, 4),
    speed=Case(128, 256, 4), speed_seconds=0.01, batch_tokens=512, micro_batch_tokens=256, expansion=1, loop_steps=3,
    study_steps=6, study_k=(8,),
)  # fmt: skip


def sizes(dry: bool) -> Sizes:
    """Those to use."""
    return DRY if dry else FULL
