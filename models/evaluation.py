"""Reconstruction on held-out tokens, summed in float64 over as many batches as there are."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.coder import Coder


@dataclass
class FvuSum:
    """Accumulates `Σ‖y − ŷ‖² / Σ‖y − ȳ‖²`, ȳ the mean over all tokens added."""

    tokens: int = 0
    error: float = 0.0
    squares: float = 0.0
    origin_D: Tensor | None = field(default=None, repr=False)
    """The first token: `squares` and `total_D` are taken from here, so that a large mean costs no digits."""
    total_D: Tensor | None = field(default=None, repr=False)

    def add(self, y_BD: Tensor, out_BD: Tensor) -> None:
        """Count one batch."""
        if len(y_BD) == 0:
            return
        y_BD = y_BD.double()
        if self.origin_D is None or self.total_D is None:
            self.origin_D, self.total_D = y_BD[0].clone(), torch.zeros_like(y_BD[0])
        self.tokens += len(y_BD)
        self.error += float((y_BD - out_BD).pow(2).sum())
        moved_BD = y_BD - self.origin_D
        self.squares += float(moved_BD.pow(2).sum())
        self.total_D = self.total_D + moved_BD.sum(dim=0)

    def fvu(self) -> float:
        """The fraction of variance unexplained; NaN before anything was added or where the inputs do not vary."""
        variance = self.variance()
        return self.error / variance if variance > 0 else float("nan")

    def variance(self) -> float:
        """Σ‖y − ȳ‖²; NaN before anything was added."""
        if self.total_D is None:
            return float("nan")
        return self.squares - float(self.total_D.pow(2).sum()) / self.tokens

    def mean_share(self) -> float:
        """`N ‖ȳ‖² / Σ‖y − ȳ‖²`: what a reconstruction without a bias has to spend latents on; NaN as `fvu` is."""
        variance = self.variance()
        return self.tokens * float(self.mean_D.pow(2).sum()) / variance if variance > 0 else float("nan")

    @property
    def mean_D(self) -> Tensor:
        """Of what was added, float64. Raises ValueError where that is nothing."""
        if self.origin_D is None or self.total_D is None:
            raise ValueError("nothing was added that has a mean")
        return self.origin_D + self.total_D / self.tokens


@dataclass
class Evaluation:
    """Held-out figures of one coder; `add` batches, then read `metrics`."""

    coder: Coder
    gram: Tensor | None = field(default=None, repr=False)
    """`coder.gram` of all tokens to come, shared by the batches."""
    with_massive: FvuSum = field(default_factory=FvuSum)
    without_massive: FvuSum = field(default_factory=FvuSum)
    active: int = 0

    @torch.no_grad()
    def add(self, x_BD: Tensor, massive_B: Tensor, y_BD: Tensor | None = None) -> None:
        """Score a batch [B, D]; `massive_B` bool marks tokens of outlying norm, `y_BD` is a transcoder's target."""
        y_BD = x_BD if y_BD is None else y_BD
        out = self.coder(x_BD, y_BD, gram=self.gram)
        self.with_massive.add(y_BD, out.sae_out)
        self.without_massive.add(y_BD[~massive_B], out.sae_out[~massive_B])
        self.active += int((out.latent_acts != 0).sum())

    def metrics(self) -> dict[str, float]:
        """`val/fvu` and `val/mean_share` over ordinary tokens, `val/fvu_with_massive` over all, `l0`, counts."""
        return {
            "val/fvu": self.without_massive.fvu(),
            "val/fvu_with_massive": self.with_massive.fvu(),
            "val/mean_share": self.without_massive.mean_share(),
            "val/tokens": self.without_massive.tokens,
            "val/massive_tokens": self.with_massive.tokens - self.without_massive.tokens,
            "l0": self.active / self.with_massive.tokens if self.with_massive.tokens else float("nan"),
        }
