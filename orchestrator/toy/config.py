"""What a sweep over synthetic trees is; the axes and sizes it shares with other sweeps are checked by theirs."""

import dataclasses
import itertools
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from models.variants import recipe_of
from orchestrator.errors import UserError
from orchestrator.grid.cells import Cell, cells
from orchestrator.grid.config import SweepConfig
from orchestrator.language_models.hookpoints import Hookpoint
from orchestrator.redaction import redact
from orchestrator.toy.tree import TreeConfig

MODEL = "toy"
"""What stands where other sweeps name a language model; the setting of the tree stands for the hookpoint."""


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """One sweep over trees. Raises UserError naming the field for values out of range."""

    correlation: tuple[float, ...] = (0.1,)
    """Cosines between atoms of the top level, and between siblings."""
    overlap: tuple[float, ...] = (0.0,)
    """Cosines between a child and its parent; 0 makes the two levels orthogonal."""
    k: tuple[int, ...] = (2,)
    """Active latents per sample; the truth has 2 at most."""
    expansion_factor: tuple[int, ...] = (1,)
    """Latents as a multiple of the width; 1 gives as many latents as there are atoms."""
    variant: tuple[str, ...] = ("topk", "mp-tied", "mp")
    """Autoencoders, by their names in models/variants.py."""
    seed: tuple[int, ...] = (0, 1, 2)
    """Seeds of the dictionary, of the samples and of the initialisation."""

    train_tokens: int = 400_000
    """Training samples; each is seen once."""
    val_tokens: int = 20_000
    """Held-out samples."""
    batch_tokens: int = 200
    """Samples per optimiser step."""
    lr: float = 3e-2
    """Peak learning rate of Adam."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises; it falls linearly to 0 afterwards."""
    auxk_alpha: float = 0.0
    """Weight of the AuxK loss that revives dead latents; 0 leaves it out."""
    centre: bool = True
    """Start `b_dec` at the mean of the data as every other sweep does; else at 0."""

    storage: Path = SweepConfig.storage
    """Directory for everything the sweep writes."""
    tracking_uri: str | None = None
    """MLflow server; a SQLite store under `storage` unless given."""
    name: str | None = None
    """Name of the sweep; made from the script's name and the time unless given."""

    def __post_init__(self) -> None:
        for axis in ("correlation", "overlap"):
            values = getattr(self, axis)
            if not values or len(set(values)) < len(values):
                raise UserError(f"{axis} {values}: needs values, each given once")
        self.shared()
        for variant in self.variant:
            if recipe_of(variant).transcode:
                raise UserError(f"variant {variant!r}: samples of a tree have no target; only autoencoders fit")

    def settings(self) -> dict[str, TreeConfig]:
        """The trees by name. Raises UserError for an impossible one."""
        try:
            trees = [
                TreeConfig(correlation=correlation, overlap=overlap)
                for correlation, overlap in itertools.product(self.correlation, self.overlap)
            ]
        except ValueError as error:
            raise UserError(str(error)) from None
        return {tree.name: tree for tree in trees}

    def shared(self) -> SweepConfig:
        """The same as a sweep over a language model's activations would say it, a sample standing for a token."""
        own = ("correlation", "overlap", "centre")
        same = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in own}
        return SweepConfig(
            **same, model=(MODEL,), hookpoint=tuple(self.settings()), context_length=1, exclude_first=False,
            shard_tokens=self.batch_tokens, micro_batch_tokens=self.batch_tokens,
        )  # fmt: skip

    def cells(self) -> list[Cell]:
        """The grid: setting by setting, the variants of one seed beside each other. Raises UserError."""
        points = [Hookpoint(name, tree.d_in) for name, tree in self.settings().items()]
        order = {name: index for index, name in enumerate(self.settings())}
        return sorted(
            cells(self.shared(), {MODEL: points}),
            key=lambda c: (order[c.hookpoint], c.k, c.expansion_factor, c.seed, self.variant.index(c.variant)),
        )

    def to_json(self) -> dict[str, Any]:
        """JSON form without secrets; `from_json` reads it back."""
        content = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        return content | {"tracking_uri": self.tracking_uri and redact(self.tracking_uri)}

    @classmethod
    def from_json(cls, text: str) -> "ToyConfig":
        """Read what `to_json` gave. Raises UserError where something else wrote it."""
        content = json.loads(text)
        if unknown := content.keys() - {field.name for field in dataclasses.fields(cls)}:
            raise UserError(f"sweep.json: unknown fields {', '.join(sorted(unknown))}; is it another script's sweep?")
        content |= {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
        return cls(**content | {"storage": Path(content["storage"])})
