"""What a sparse coder is, before it has weights."""

from dataclasses import dataclass

from models.checks import is_number, is_whole
from models.variants import Recipe, recipe_of


@dataclass(frozen=True, kw_only=True)
class SparseCoderConfig:
    """Architecture of a sparse coder. Raises ValueError naming the field for values out of range."""

    variant: str = "topk"
    """A name in `models.variants.VARIANTS`: how latents are chosen, subtracted and decoded."""
    expansion_factor: int = 32
    """Number of latents as a multiple of the input width; ignored where `num_latents` is given."""
    num_latents: int = 0
    """Number of latents; 0 derives it from `expansion_factor`."""
    k: int = 32
    """Active latents per token."""
    detach_residual: bool = False
    """Pursuits without a refit, but for `mp-study`: stop the gradient at each step's residual."""
    residual_threshold: float = 0.0
    """`mp-tied`: a token whose residual is no longer than this, in the units of the input, takes no more latents."""

    def __post_init__(self) -> None:
        recipe = recipe_of(self.variant)
        for field in ("expansion_factor", "num_latents", "k"):
            if not is_whole(getattr(self, field)):
                raise ValueError(f"{field} {getattr(self, field)!r}: must be a whole number")
            object.__setattr__(self, field, int(getattr(self, field)))  # JSON takes no other library's
        for field in ("expansion_factor", "k"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} {getattr(self, field)}: must be 1 or more")
        if self.num_latents < 0:
            raise ValueError(f"num_latents {self.num_latents}: must be 1 or more, or 0 to use expansion_factor")
        if not isinstance(self.detach_residual, bool):
            raise ValueError(f"detach_residual {self.detach_residual!r}: must be true or false")
        if self.detach_residual and (recipe.choice != "pursuit" or recipe.refit != "none" or recipe.study):
            raise ValueError(f"detach_residual True: only pursuits without a refit detach, not variant {self.variant}")
        threshold = self.residual_threshold
        if not (is_number(threshold) and threshold >= 0):
            raise ValueError(f"residual_threshold {threshold!r}: must be 0 or a positive number")
        object.__setattr__(self, "residual_threshold", float(threshold))
        if self.residual_threshold and self.variant != "mp-tied":
            raise ValueError(
                f"residual_threshold {self.residual_threshold}: only variant mp-tied has one, not {self.variant}"
            )

    @property
    def recipe(self) -> Recipe:
        """How this variant chooses, subtracts and decodes."""
        return recipe_of(self.variant)

    def latents(self, d_in: int) -> int:
        """Number of latents for inputs of width `d_in`. Raises ValueError where there are fewer than k."""
        num_latents = self.num_latents or self.expansion_factor * d_in
        if self.k > num_latents:
            raise ValueError(f"k {self.k}: must be at most the number of latents, {num_latents}")
        return num_latents
