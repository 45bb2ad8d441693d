"""What a sparse coder is, before it has weights."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

Variant = Literal["topk", "mp"]
VARIANTS: tuple[str, ...] = get_args(Variant)

SPARSIFY_FIELDS = {"normalize_decoder": True, "multi_topk": False, "skip_connection": False, "transcode": False}
"""Fields sparsify expects in cfg.json, at the only values our coders have."""


@dataclass(frozen=True, kw_only=True)
class SparseCoderConfig:
    """Architecture of a sparse coder. Raises ValueError naming the field for values out of range."""

    variant: Variant = "topk"
    """How latents are chosen: `topk` at once, `mp` one after another by matching pursuit."""
    expansion_factor: int = 32
    """Number of latents as a multiple of the input width; ignored where `num_latents` is given."""
    num_latents: int = 0
    """Number of latents; 0 derives it from `expansion_factor`."""
    k: int = 32
    """Active latents per token."""
    detach_residual: bool = False
    """`mp` only: stop the gradient at each step's residual."""

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r}: allowed are {', '.join(VARIANTS)}")
        for field in ("expansion_factor", "k"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} {getattr(self, field)}: must be 1 or more")
        if self.num_latents < 0:
            raise ValueError(f"num_latents {self.num_latents}: must be 1 or more, or 0 to use expansion_factor")
        if self.detach_residual and self.variant != "mp":
            raise ValueError(f"detach_residual True: only variant mp has residuals, not {self.variant}")

    def latents(self, d_in: int) -> int:
        """Number of latents for inputs of width `d_in`. Raises ValueError where there are fewer than k."""
        num_latents = self.num_latents or self.expansion_factor * d_in
        if self.k > num_latents:
            raise ValueError(f"k {self.k}: must be at most the number of latents, {num_latents}")
        return num_latents

    def write(self, path: Path, d_in: int, **extra: Any) -> None:
        """Write `cfg.json` as sparsify reads it; `activation` is the variant, so that no MP coder passes for TopK."""
        content = {"activation": self.variant, **SPARSIFY_FIELDS, **asdict(self), "d_in": d_in, **extra}
        path.write_text(json.dumps(content, indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> tuple["SparseCoderConfig", int]:
        """The config and input width in a `cfg.json`, ours or sparsify's. Raises ValueError for other coders."""
        content = json.loads(path.read_text())
        for field, only in SPARSIFY_FIELDS.items():
            if content.get(field, only) != only:
                raise ValueError(f"{field} {content[field]!r} in {path}: only {only!r} can be loaded")
        known = {f.name for f in fields(cls)}
        variant = content.get("variant", content.get("activation", "topk"))
        return cls(**{**{name: content[name] for name in known & content.keys()}, "variant": variant}), content["d_in"]
