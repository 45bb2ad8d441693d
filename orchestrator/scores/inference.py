"""A trained dictionary under other inference: at another k, and with other encoders than the one it was trained with.

Shape suffixes: B tokens of a batch, D width, K active latents per token.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from models import SparseCoder
from models.evaluation import FvuSum
from models.reencode import LONGEST_ROW, reencode
from orchestrator.scores.held_out import HeldOutTokens

PREFIX = "inference/"
OWN = f"{PREFIX}own/fvu"
ENCODERS = ("mp", "ito", "omp")
"""Pursuits on the decoder's rows, in the place of the encoder."""
NON_NEGATIVE = f"{PREFIX}non_negative/fvu"
WITH_OTHERS = (*(f"{PREFIX}{name}/fvu" for name in ENCODERS), NON_NEGATIVE)
TOKENS = 1 << 13
"""Held-out tokens that each is measured on, or as many as there are: least squares on k latents are not fast."""
AT_ONCE = 1 << 9
"""Tokens whose rows of the decoder are copied out together."""
ITERATIONS = 300


def at_k(k: int) -> str:
    """The metric of a coder's own encoder asked for k latents."""
    return f"{PREFIX}k{k}/fvu"


def values_at_k(metrics: Mapping[str, float]) -> dict[int, float]:
    """FVU by the k that the encoder was asked for."""
    found = ((re.fullmatch(rf"{PREFIX}k(\d{{1,18}})/fvu", name), value) for name, value in metrics.items())
    return {int(match[1]): value for match, value in found if match}


@torch.no_grad()
def metrics(coder: SparseCoder, tokens: HeldOutTokens, ks: Iterable[int]) -> dict[str, float]:
    """Held-out FVU by name, all of the same ordinary tokens.

    `inference/own/fvu` is the coder as it was trained; `inference/kN/fvu` asks its encoder for N latents, where the
    variant can; `inference/mp|ito|omp/fvu` put a pursuit on the decoder's rows in the encoder's place, at the same k
    (matching pursuit only where rows are no longer than 1); `inference/non_negative/fvu` keeps the latents that the
    encoder chose and gives them the activations of least error: what is lost by its activations, not by its choice. A
    transcoder, and a decoder for each step, have the first two alone.
    """
    others = _reencoded(coder)
    wanted = [k for k in ks if k <= coder.num_latents and (coder.cfg.recipe.any_k or k == coder.cfg.k)]
    sums: dict[str, FvuSum] = {}
    for x_BD, y_BD in _ordinary(coder, tokens):
        outs = {OWN: coder(x_BD, y_BD).sae_out} | {at_k(k): _at_k(coder, x_BD, k) for k in wanted}
        outs |= {name: other(x_BD).sae_out for name, other in others.items()}
        if others:
            outs[NON_NEGATIVE] = _refitted(coder, x_BD)
        for name, out_BD in outs.items():
            sums.setdefault(name, FvuSum()).add(y_BD, out_BD)
    return {name: total.fvu() for name, total in sums.items()}


def non_negative(target_BD: Tensor, indices_BK: Tensor, rows_MD: Tensor, active_BK: Tensor) -> Tensor:
    """Activations a ≥ 0 of least ‖target − Σ a_j rows[j]‖, [B, K], by accelerated projected gradients (FISTA).

    Those that are not `active`, bool, stay 0. Beck & Teboulle 2009, with restarts where momentum points uphill
    (O'Donoghue & Candès 2015).
    """
    rows_BKD = rows_MD[indices_BK] * active_BK[:, :, None]
    gram_BKK = rows_BKD @ rows_BKD.mT
    towards_BK = (rows_BKD @ target_BD[:, :, None])[:, :, 0]
    step_B1 = 1 / torch.linalg.matrix_norm(gram_BKK, ord=torch.inf).clamp_min(torch.finfo(rows_MD.dtype).tiny)[:, None]
    acts_BK = ahead_BK = torch.zeros_like(towards_BK)
    momentum_B1 = torch.ones_like(step_B1)
    for _ in range(ITERATIONS):
        gradient_BK = (gram_BKK @ ahead_BK[:, :, None])[:, :, 0] - towards_BK
        new_BK = (ahead_BK - step_B1 * gradient_BK).clamp_min(0)
        uphill_B1 = (gradient_BK * (new_BK - acts_BK)).sum(dim=1, keepdim=True) > 0
        momentum_B1 = torch.where(uphill_B1, 1.0, momentum_B1)
        following_B1 = (1 + (1 + 4 * momentum_B1**2).sqrt()) / 2
        ahead_BK = new_BK + (momentum_B1 - 1) / following_B1 * (new_BK - acts_BK)
        acts_BK, momentum_B1 = new_BK, following_B1
    return acts_BK


def _ordinary(coder: SparseCoder, tokens: HeldOutTokens) -> Iterable[tuple[Tensor, Tensor]]:
    """Input and target of the first ordinary tokens, in the coder's place."""
    left = TOKENS
    for batch in tokens:
        chosen = batch.ordinary_B.nonzero()[:left, 0]
        left -= len(chosen)
        yield batch.x_BD[chosen].to(coder.W_dec.device), batch.y_BD[chosen].to(coder.W_dec.device)
        if left <= 0:
            return


def _reencoded(coder: SparseCoder) -> Mapping[str, SparseCoder]:
    """The coder's dictionary with each other encoder that it can have."""
    if coder.cfg.recipe.transcode or coder.cfg.recipe.step_decoders:
        return {}
    short = float(coder.W_dec.norm(dim=1).max()) <= LONGEST_ROW
    return {f"{PREFIX}{name}/fvu": reencode(coder, name) for name in ENCODERS if name != "mp" or short}


def _at_k(coder: SparseCoder, x_BD: Tensor, k: int) -> Tensor:
    encoded = coder.encode(x_BD, k)
    return coder.decode(encoded.latent_acts, encoded.latent_indices, x_BD)


def _refitted(coder: SparseCoder, x_BD: Tensor) -> Tensor:
    """What the chosen latents can do at best."""
    outs = []
    for x_TD in torch.split(x_BD, AT_ONCE):
        acts_TK, indices_TK, _ = coder.encode(x_TD)
        nothing_TD = coder.decode(torch.zeros_like(acts_TK), indices_TK)  # the bias, where the output has one
        target_TD = (x_TD - nothing_TD) * coder.output_scale
        best_TK = non_negative(target_TD, indices_TK, coder.W_dec, acts_TK != 0)
        outs.append(coder.decode(best_TK, indices_TK))
    return torch.cat(outs)
