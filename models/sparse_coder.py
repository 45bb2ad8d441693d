"""Sparse autoencoders that choose latents by TopK or by matching pursuit.

Shape suffixes: B tokens, D input width, M latents, K active latents per token.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kernels import decoder_gram, matching_pursuit, sparse_decode, topk_encode
from kernels.backend import backend_of
from kernels.checks import check_matrix
from kernels.forms import best_form
from kernels.rules import Rules
from models.config import SparseCoderConfig


class Encoded(NamedTuple):
    """Active latents of each token."""

    latent_acts: Tensor
    """Activations, [B, K]."""
    latent_indices: Tensor
    """Latents, [B, K] int64."""
    unexplained: Tensor
    """What latents not chosen can still be scored on, [B, D]: the centred input (topk) or the last residual (mp)."""


class ForwardOutput(NamedTuple):
    """Reconstruction and its losses."""

    sae_out: Tensor
    """Reconstruction in the units of the input, [B, D]."""
    latent_acts: Tensor
    """Activations, [B, K]."""
    latent_indices: Tensor
    """Latents, [B, K] int64."""
    fvu: Tensor
    """Fraction of variance unexplained, Σ‖y − ŷ‖² / Σ‖y − ȳ‖², scalar."""
    auxk_loss: Tensor
    """AuxK loss in the same unit as `fvu`, scalar; 0 unless dead latents were given."""


def total_variance(y_BD: Tensor) -> Tensor:
    """`Σ‖y − ȳ‖²`, the denominator of FVU, scalar."""
    return (y_BD - y_BD.mean(dim=0)).pow(2).sum()


class SparseCoder(nn.Module):
    """A dictionary of `num_latents` directions, `k` of which reconstruct each input.

    Parameters carry sparsify's names: `encoder.weight` [M, D], `encoder.bias` [M], `W_dec` [M, D] with unit rows,
    `b_dec` [D]. Encoder and decoder are untied and start equal up to row norms.
    """

    def __init__(self, d_in: int, cfg: SparseCoderConfig, device: str | torch.device = "cpu") -> None:
        super().__init__()
        self.cfg, self.d_in, self.num_latents = cfg, d_in, cfg.latents(d_in)
        self.input_scale = 1.0
        """Inputs are multiplied by this, so that learning does not depend on a layer's norm; folded when saved."""
        self.encoder = nn.Linear(d_in, self.num_latents, device=device)
        self.encoder.bias.data.zero_()
        self.W_dec = nn.Parameter(self.encoder.weight.data.clone())
        self.set_decoder_norm_to_unit_norm()
        self.b_dec = nn.Parameter(torch.zeros(d_in, device=device))

    def gram(self, tokens: int) -> Tensor | None:
        """The matrix that micro-batches adding up to `tokens` can share while weights stay; None where none pays."""
        if self.cfg.variant != "mp":
            return None
        weight = self.encoder.weight
        form, _ = best_form(backend_of(weight).rates(weight), tokens, self.num_latents, self.d_in, Rules(k=self.cfg.k))
        return decoder_gram(self.W_dec, weight) if form == "update" else None

    def encode(self, x: Tensor, *, gram: Tensor | None = None) -> Encoded:
        """Choose the active latents of `x` [B, D]; activations are in units of `input_scale · x`."""
        x = x.to(self.W_dec.dtype)
        check_matrix("x", x, columns=self.d_in)
        centred = x * self.input_scale - self.b_dec
        weight, bias = self.encoder.weight, self.encoder.bias
        if self.cfg.variant == "topk":
            return Encoded(*topk_encode(centred, weight, bias, self.cfg.k), centred)
        return Encoded(
            *matching_pursuit(
                centred, weight, bias, self.W_dec, self.cfg.k, detach_residual=self.cfg.detach_residual, gram=gram
            )
        )

    def decode(self, acts: Tensor, indices: Tensor) -> Tensor:
        """Reconstruction [B, D] in the units of the input, from activations and indices [B, K]."""
        return (sparse_decode(acts, indices, self.W_dec) + self.b_dec) / self.input_scale

    def forward(
        self,
        x: Tensor,
        y: Tensor | None = None,
        *,
        dead_mask: Tensor | None = None,
        variance: Tensor | None = None,
        gram: Tensor | None = None,
    ) -> ForwardOutput:
        """Reconstruct `y` (`x` itself unless given), both [B, D]. Raises ValueError where a shape does not fit.

        `dead_mask` [M] bool asks for the AuxK loss over those latents. `variance` replaces Σ‖y − ȳ‖² of this call, so
        that the losses of micro-batches add up to that of their batch; `gram` is shared between them likewise.
        """
        x = x.to(self.W_dec.dtype)  # sums of squares overflow in half precision
        y = x if y is None else y.to(x.dtype)
        if y.shape != x.shape:
            raise ValueError(f"y has shape {list(y.shape)}; expected {list(x.shape)}")
        encoded = self.encode(x, gram=gram)
        if self.cfg.variant == "mp":  # the pursuit has subtracted the reconstruction already
            sae_out = x - encoded.unexplained / self.input_scale
        else:
            sae_out = self.decode(encoded.latent_acts, encoded.latent_indices)
        error = y - sae_out
        variance = total_variance(y) if variance is None else variance
        auxk = sae_out.new_zeros(())
        if dead_mask is not None and bool(dead_mask.any()):
            auxk = self._auxk(encoded.unexplained.detach(), error.detach(), dead_mask) / variance
        return ForwardOutput(sae_out, encoded.latent_acts, encoded.latent_indices, error.pow(2).sum() / variance, auxk)

    def _auxk(self, unexplained_BD: Tensor, error_BD: Tensor, dead_mask_M: Tensor) -> Tensor:
        """Squared error of predicting the error from the best dead latents (Gao et al. 2024, appendix A.2).

        Neither argument may carry a gradient: the loss is there to move dead latents, not what living ones leave over.
        """
        dead = dead_mask_M.nonzero()[:, 0]
        k_aux = min(self.d_in // 2 or 1, len(dead))
        acts, positions = topk_encode(unexplained_BD, self.encoder.weight[dead], self.encoder.bias[dead], k_aux)
        predicted_BD = sparse_decode(acts, positions, self.W_dec[dead]) / self.input_scale
        few_dead = min(1.0, len(dead) / (self.d_in // 2 or 1))  # a handful of dead latents should not dominate
        return few_dead * (predicted_BD - error_BD).pow(2).sum()

    @torch.no_grad()
    def set_decoder_norm_to_unit_norm(self) -> None:
        """Scale every decoder row to length 1."""
        self.W_dec.data /= self.W_dec.data.norm(dim=1, keepdim=True).clamp_min(torch.finfo(self.W_dec.dtype).tiny)

    @torch.no_grad()
    def remove_gradient_parallel_to_decoder_directions(self) -> None:
        """Keep only the part of the decoder's gradient that turns rows: their length is fixed."""
        if self.W_dec.grad is not None:
            along_M1 = (self.W_dec.grad * self.W_dec).sum(dim=1, keepdim=True)
            self.W_dec.grad.addcmul_(along_M1, self.W_dec, value=-1)

    @torch.no_grad()
    def folded_weights(self) -> dict[str, Tensor]:
        """Weights of the same function with `input_scale` 1: both biases shrink, activations change their unit."""
        weights = {name: value.detach().contiguous() for name, value in self.state_dict().items()}
        for name in ("encoder.bias", "b_dec"):
            weights[name] = weights[name] / self.input_scale
        return weights

    def save_to_disk(self, path: Path | str) -> None:
        """Write `cfg.json` and `sae.safetensors` as sparsify lays them out, `input_scale` folded into the biases."""
        directory = Path(path)
        directory.mkdir(parents=True, exist_ok=True)
        save_file(self.folded_weights(), directory / "sae.safetensors")
        self.cfg.write(directory / "cfg.json", self.d_in, trained_input_scale=self.input_scale)

    @staticmethod
    def load_from_disk(path: Path | str, device: str | torch.device = "cpu") -> "SparseCoder":
        """Read what `save_to_disk`, or sparsify's, wrote. Raises ValueError for a coder of another kind."""
        directory = Path(path)
        cfg, d_in = SparseCoderConfig.read(directory / "cfg.json")
        coder = SparseCoder(d_in, cfg, device=device)
        coder.load_state_dict(load_file(directory / "sae.safetensors", device=str(device)))
        return coder
