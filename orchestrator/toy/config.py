"""What a sweep over synthetic trees is, beside what every sweep is."""

import itertools
from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from models.variants import VARIANTS
from orchestrator.errors import UserError
from orchestrator.grid.base_config import BaseConfig
from orchestrator.grid.cells import Cell, cells
from orchestrator.language_models.hookpoints import Hookpoint
from orchestrator.toy.tree import TreeConfig

MODEL = "toy"
"""What stands where other sweeps name a language model; the setting of the tree stands for the hookpoint."""

AUTOENCODERS = tuple(name for name, recipe in VARIANTS.items() if not recipe.transcode)


@dataclass(frozen=True, kw_only=True)
class ToyConfig(BaseConfig):
    """One sweep over trees. Raises UserError naming the field for values out of range."""

    variants: ClassVar[tuple[str, ...]] = AUTOENCODERS

    correlation: tuple[float, ...] = (0.1,)
    """Cosines between atoms of the top level, and between siblings."""
    overlap: tuple[float, ...] = (0.0,)
    """Cosines between a child and its parent; 0 makes the two levels orthogonal."""
    k: tuple[int, ...] = (2,)
    """Active latents per sample; the truth has 2 at most."""
    expansion_factor: tuple[int, ...] = (1,)
    """Latents as a multiple of the width; 1 gives as many latents as there are atoms."""
    variant: Annotated[
        tuple[str, ...], tyro.conf.arg(help=f"Autoencoders, of: {', '.join(AUTOENCODERS)} (docs/variants.md).")
    ] = ("topk", "mp-tied", "mp")
    seed: tuple[int, ...] = (0, 1, 2)
    """Seeds of the dictionary, of the samples and of the initialisation."""

    train_tokens: int = 400_000
    """Training samples; each is seen once."""
    val_tokens: int = 20_000
    """Held-out samples."""
    batch_tokens: int = 200
    """Samples per optimiser step."""
    lr: tuple[float, ...] = (3e-2,)
    """Peak learning rates of Adam."""
    centre: bool = True
    """Start `b_dec` at the mean of the data as every other sweep does; else at 0."""

    def __post_init__(self) -> None:
        for axis in ("correlation", "overlap"):
            values = getattr(self, axis)
            if not values or len(set(values)) < len(values):
                raise UserError(f"{axis} {values}: needs values, each given once")
        for variant in self.variant:
            if variant in VARIANTS and variant not in AUTOENCODERS:
                raise UserError(
                    f"variant {variant!r}: samples of a tree have no target; allowed are {', '.join(AUTOENCODERS)}"
                )
        super().__post_init__()
        self.settings()

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

    def cells(self) -> list[Cell]:
        """The grid: setting by setting, the variants of one seed beside each other. Raises UserError."""
        points = [Hookpoint(name, tree.d_in) for name, tree in self.settings().items()]
        order = {name: index for index, name in enumerate(self.settings())}
        return sorted(
            cells(self, {MODEL: points}),
            key=lambda c: (order[c.hookpoint], c.k, c.expansion_factor, c.lr, c.seed, self.variant.index(c.variant)),
        )
