"""Another encoder for a trained autoencoder: its decoder stays, and a pursuit on it chooses and weighs the latents."""

from dataclasses import replace

import torch

from models.coder import Coder
from models.sparse_coder import SparseCoder

LONGEST_ROW = 1.05
"""Rows of length 1 that were stored in bfloat16 are shorter than this."""


@torch.no_grad()
def reencode(coder: Coder, variant: str = "ito", k: int | None = None) -> SparseCoder:
    """An autoencoder with the decoder and `b_dec` of `coder` (copied), encoding by pursuit on the decoder's rows.

    `ito` is inference-time optimisation (Smith 2024), `mp` and `mp-tied` are matching pursuit, `omp` refits by least
    squares; the encoder is the decoder and its bias 0. `k` active latents, as many as `coder` has unless given.
    Raises ValueError for a coder with more than one decoder row per latent, a transcoder, other variants, and matching
    pursuit on rows longer than 1, which would raise the error step by step.
    """
    if coder.cfg.recipe.transcode or coder.cfg.recipe.step_decoders:
        raise ValueError(f"variant {coder.cfg.variant!r}: only an autoencoder with one decoder can be encoded anew")
    if variant not in (allowed := ("ito", "mp", "mp-tied", "omp")):
        raise ValueError(f"variant {variant!r}: allowed are {', '.join(allowed)}")
    if variant in ("mp", "mp-tied") and (length := coder.W_dec.norm(dim=1).max()) > LONGEST_ROW:
        raise ValueError(f"variant {variant!r}: needs decoder rows of length 1, these go up to {length:.3g}")
    k = coder.cfg.k if k is None else k
    cfg = replace(coder.cfg, variant=variant, k=k, detach_residual=False, residual_threshold=0.0)
    out = SparseCoder(coder.d_in, cfg, device=coder.W_dec.device).to(coder.W_dec.dtype)
    out.input_scale = coder.input_scale
    out.W_dec.copy_(coder.W_dec)
    if out.b_dec is not None and coder.b_dec is not None and not coder.cfg.recipe.study:  # their output has none
        out.b_dec.copy_(coder.b_dec)
    if out.encoder is not None:
        out.encoder.weight.copy_(coder.W_dec)
    return out
