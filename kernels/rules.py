"""What a pursuit may choose and when it stops: the options that every form and back end obeys."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Options of one matching pursuit, as `kernels.matching_pursuit` describes them."""

    k: int
    """Steps."""
    repeats: bool = False
    """A latent may be chosen more than once."""
    sliced: bool = False
    """Step i chooses within slice i of k slices of the latents."""
    residual_threshold: float = 0.0
    """A token whose residual is no longer than this has stopped."""

    def slice_bounds(self, step: int, num_latents: int) -> tuple[int, int]:
        """First and last-plus-one latent that `step` may choose."""
        if not self.sliced:
            return 0, num_latents
        return step * num_latents // self.k, (step + 1) * num_latents // self.k
