"""The mathematics of sparse coders: autoencoders and transcoders whose variant says how they choose, subtract, decode.

Files are elsewhere: `models.formats` reads and writes what stands here, `models.sparse_coder` joins the two.

Shape suffixes: B tokens, D input width, M latents, K active latents per token.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from kernels import decoder_gram, sparse_decode
from kernels.backend import backend_of
from kernels.checks import check_matrix
from kernels.forms import best_form
from kernels.rules import Rules
from models.auxk import auxk_loss
from models.checks import as_floats, check_latents, check_mask, is_number, is_whole, usable_device
from models.config import SparseCoderConfig
from models.encoding import Encoded, EncoderWeights, choose

P = ParamSpec("P")
T = TypeVar("T")

CACHED_BYTES = 1 << 18
"""Of rows that are gone over twice: a part of a core's own cache."""
SCALES = ("input_scale", "target_scale")
"""What a coder computes with beside its parameters."""


class ForwardOutput(NamedTuple):
    """Reconstruction and its losses."""

    sae_out: Tensor
    """Reconstruction, or a transcoder's prediction, in the units of the target, [B, D]."""
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


def _in_its_own_precision(method: Callable[P, T]) -> Callable[P, T]:
    """Without autocast, in whose bfloat16 refits and skip connections would come to other latents than in training."""

    @functools.wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        coder: Any = args[0]
        device = coder.W_dec.device.type
        if device == "meta" or not torch.is_autocast_enabled(device):
            return method(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return method(*args, **kwargs)

    return run


class Coder(nn.Module):
    """A dictionary of `num_latents` directions, `k` of which reconstruct each input or predict its target.

    Parameters carry sparsify's names: `encoder.weight` [M, D] and `encoder.bias` [M] (absent where the variant is
    tied), `W_dec` [M, D] ([k, M, D] with a decoder per step), `b_dec` [D] (absent where it is not centred), `W_skip`
    [D, D]. Ours beside them: `W_sub` [M, D], subtracted during a pursuit, and `b_in` [D], which centres the input of a
    pursuit transcoder. Encoder and decoder start equal up to row norms; a transcoder's decoder starts at 0.
    """

    def __init__(self, d_in: int, cfg: SparseCoderConfig, device: str | torch.device = "cpu") -> None:
        super().__init__()
        if not isinstance(cfg, SparseCoderConfig):
            raise ValueError(f"cfg is a {type(cfg).__name__}; expected a SparseCoderConfig")
        device, recipe = usable_device(device), cfg.recipe
        if not is_whole(d_in) or d_in < 1:
            raise ValueError(f"d_in {d_in!r}: must be a whole number, 1 or more")
        self.cfg, self.d_in, self.num_latents = cfg, int(d_in), cfg.latents(int(d_in))
        self.input_scale = 1.0
        """Inputs are multiplied by this, so that learning does not depend on a layer's norm; folded when saved."""
        self.target_scale = 1.0
        """A transcoder's targets are learned times this, for the same reason; folded when saved."""
        encoder = nn.Linear(d_in, self.num_latents, device=device)
        encoder.bias.data.zero_()
        weight, zeros = encoder.weight.data, torch.zeros(d_in, device=device)
        self.encoder = None if recipe.tied else encoder
        copies = weight.expand(cfg.k, -1, -1) if recipe.step_decoders else weight
        self.W_dec = nn.Parameter(torch.zeros_like(weight) if recipe.transcode else copies.clone())
        self.b_dec = nn.Parameter(zeros.clone()) if recipe.centred else None
        self.W_sub = nn.Parameter(weight.clone()) if recipe.subtraction == "separate" else None
        self.b_in = nn.Parameter(zeros.clone()) if recipe.transcode and recipe.choice == "pursuit" else None
        self.W_skip = nn.Parameter(torch.zeros(d_in, d_in, device=device)) if recipe.skip else None
        self.set_decoder_norm_to_unit_norm()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Parameters and scales: all that a coder computes with. The scales stay float64 in any dtype of weights."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in SCALES:  # on the CPU also where the default is a device that holds no values
            destination[prefix + name] = torch.tensor(getattr(self, name), dtype=torch.float64, device="cpu")

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        *_, errors = args
        for name in SCALES:  # state dicts of older versions have none
            if (value := state_dict.pop(prefix + name, None)) is None:
                continue
            scale: Any = value.tolist() if isinstance(value, Tensor) else value
            if is_number(scale) and scale > 0:
                setattr(self, name, float(scale))
            else:
                errors.append(f"{prefix}{name} {scale}: must be a positive number")
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def output_scale(self) -> float:
        """What outputs are divided by: `target_scale` where input and target are different things."""
        recipe = self.cfg.recipe
        return self.target_scale if recipe.transcode and not recipe.one_scale else self.input_scale

    @property
    def W_enc(self) -> Tensor:
        """Encoder rows, [M, D]; `W_dec` itself where tied."""
        return self.W_dec if self.encoder is None else self.encoder.weight

    @property
    def b_enc(self) -> Tensor | None:
        """Encoder bias, [M]; None where tied."""
        return None if self.encoder is None else self.encoder.bias

    @property
    def subtracted_rows(self) -> Tensor:
        """What a pursuit subtracts per unit of activation, [M, D] or [k, M, D]."""
        if self.W_sub is not None:
            return self.W_sub
        return self.W_enc if self.cfg.recipe.subtraction == "encoder" else self.W_dec

    def gram(self, tokens: int) -> Tensor | None:
        """The matrix that micro-batches adding up to `tokens` can share while weights stay; None where none pays."""
        recipe = self.cfg.recipe
        if recipe.choice != "pursuit" or recipe.refit != "none" or recipe.sliced or recipe.step_decoders:
            return None
        weight, rules = self.W_enc, Rules(k=self.cfg.k, repeats=recipe.repeats)
        form, _ = best_form(backend_of(weight).rates(weight), tokens, self.num_latents, self.d_in, rules)
        return decoder_gram(self.subtracted_rows, weight) if form == "update" else None

    @_in_its_own_precision
    def encode(self, x: Tensor, k: int | None = None, *, gram: Tensor | None = None) -> Encoded:
        """Choose the active latents of `x` [B, D]; activations are in units of `input_scale · x`.

        `k` asks for another number of them than the coder was made with. Raises ValueError where the variant's weights
        belong to one k, and for shapes that do not fit.
        """
        if k is not None and not is_whole(k):
            raise ValueError(f"k {k!r}: must be a whole number")
        if k is not None and k != self.cfg.k and not self.cfg.recipe.any_k:
            raise ValueError(
                f"k {k}: must be {self.cfg.k} for variant {self.cfg.variant}, whose weights belong to steps"
            )
        return choose(
            self.cfg,
            EncoderWeights(self.W_enc, self.b_enc, self.subtracted_rows, self.b_dec),
            self._centred(self._as_input("x", x)),
            self.cfg.k if k is None else int(k),
            gram=gram,
            residual_threshold=self.cfg.residual_threshold * self.input_scale,
        )

    def _as_input(self, name: str, x: Tensor) -> Tensor:
        """`x` in the dtype of the weights, since sums of squares overflow in half precision."""
        x = as_floats(name, x, self.W_dec)
        check_matrix(name, x, columns=self.d_in)
        return x

    def _centred(self, x_BD: Tensor) -> Tensor:
        """Scaled inputs minus their learned centre; an ordinary transcoder's is in its encoder bias."""
        centre = self.b_in if self.cfg.recipe.transcode else self.b_dec
        scaled = x_BD * self.input_scale
        return scaled if centre is None else scaled - centre

    @_in_its_own_precision
    def decode(self, acts: Tensor, indices: Tensor, x: Tensor | None = None) -> Tensor:
        """Reconstruction [B, D] in the units of the target, from activations and indices [B, K].

        A coder with a skip connection needs the input `x` [B, D] too. Raises ValueError without it, and for shapes,
        dtypes and latents that do not fit.
        """
        acts = as_floats("acts", acts, self.W_dec)
        check_matrix("acts", acts)
        check_latents(indices, acts, self.num_latents)
        out = self._write(acts, indices)
        if self.b_dec is not None and not self.cfg.recipe.study:
            out = out + self.b_dec
        if self.W_skip is not None:
            if x is None:
                raise ValueError(f"x None: variant {self.cfg.variant} has a skip connection and decodes with its input")
            x = self._as_input("x", x)
            if len(x) != len(acts):
                raise ValueError(f"x has shape {list(x.shape)}; expected [{len(acts)}, {self.d_in}] as acts")
            out = out + (x * self.input_scale) @ self.W_skip.T
        return out / self.output_scale

    def _write(self, acts_BK: Tensor, indices_BK: Tensor) -> Tensor:
        """Σ a_j W_dec[j], [B, D]; with a decoder per step, entry i is written by that of step i (modulo k)."""
        rows_BK = indices_BK
        if self.W_dec.ndim == 3:
            steps = torch.arange(indices_BK.shape[1], device=indices_BK.device) % self.cfg.k
            rows_BK = indices_BK + steps * self.num_latents
        return sparse_decode(acts_BK, rows_BK, self.W_dec.flatten(0, -2))

    @_in_its_own_precision
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
        x = self._as_input("x", x)
        y = x if y is None else as_floats("y", y, self.W_dec)
        if y.shape != x.shape:
            raise ValueError(f"y has shape {list(y.shape)}; expected {list(x.shape)}")
        if dead_mask is not None:
            check_mask("dead_mask", dead_mask, self.num_latents, self.W_dec)
        encoded = self.encode(x, gram=gram)
        if self.cfg.recipe.residual_is_error:  # the pursuit has subtracted the reconstruction already
            left = encoded.unexplained
            if self.b_dec is not None and self.cfg.recipe.study:  # taken from the input, and not written
                left = left + self.b_dec
            sae_out = x - left / self.input_scale
        else:
            sae_out = self.decode(encoded.latent_acts, encoded.latent_indices, x)
        error = y - sae_out
        variance = total_variance(y) if variance is None else variance
        auxk = sae_out.new_zeros(())
        if dead_mask is not None and (dead_mask.is_cuda or bool(dead_mask.any())):  # a GPU is not waited for
            auxk = self._auxk(x, encoded, error, dead_mask) / variance
        return ForwardOutput(sae_out, encoded.latent_acts, encoded.latent_indices, error.pow(2).sum() / variance, auxk)

    def _auxk(self, x_BD: Tensor, encoded: Encoded, error_BD: Tensor, dead_M: Tensor) -> Tensor:
        return auxk_loss(
            encoded.unexplained.detach(),
            error_BD.detach(),
            x_BD.norm(dim=1) * self.input_scale,
            dead_M,
            self.W_enc,
            self.b_enc,
            lambda acts, indices: self._write(acts, indices) / self.output_scale,
        )

    def _unit_rows(self) -> list[nn.Parameter]:
        """Parameters whose rows are held at length 1."""
        recipe = self.cfg.recipe
        unit_decoder = not (recipe.transcode or recipe.free_decoder)
        held = {"W_sub": True, "W_dec": unit_decoder, "encoder.weight": recipe.unit_encoder}
        return [parameter for name, parameter in self.named_parameters() if held.get(name, False)]

    @torch.no_grad()
    def set_decoder_norm_to_unit_norm(self) -> None:
        """Scale the rows that the variant holds at length 1: a decoder's, those subtracted, a unit encoder's."""
        for parameter in self._unit_rows():
            parameter.data /= parameter.data.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(parameter.dtype).tiny)

    @torch.no_grad()
    def remove_gradient_parallel_to_decoder_directions(self) -> None:
        """Keep only the part of those rows' gradients that turns them: their length is fixed."""
        for parameter in self._unit_rows():
            if parameter.grad is not None:
                for rows, grad in zip(_cached(parameter), _cached(parameter.grad), strict=True):
                    grad.addcmul_((grad * rows).sum(dim=-1, keepdim=True), rows, value=-1)


def _cached(matrix: Tensor) -> tuple[Tensor, ...]:
    """Views of all rows, on a CPU of so few that a second pass over them finds them in its cache."""
    rows_RD = matrix.detach().flatten(0, -2)
    return (rows_RD,) if matrix.is_cuda else torch.split(rows_RD, max(1, CACHED_BYTES // (rows_RD[:1].nbytes or 1)))
