"""The ways to run the k steps of matching pursuit forward, what each costs, and the choice between them.

    recompute  all scores by a matrix product at every step: 2·B·k·M·D flops, no memory
    update     `s ← s − a·H[j]` with `H = W_dec W_encᵀ`: 2·M²·D flops and M² numbers once, then k row updates per token
    screen     all scores now and then, in between only those that can matter (kernels.cpu.compiled)

Costs are counted in flops of a back end's matrix product, so that only ratios between a machine's rates matter.
"""

import logging
from dataclasses import dataclass
from typing import Literal, get_args

from kernels.rules import Rules

Form = Literal["auto", "update", "recompute", "screen"]
FORMS = get_args(Form)

GRAM_BYTES_LIMIT = 16 << 30
"""H larger than this is never built."""
SMALL_GRAM_BYTES = 256 << 20
"""H up to this size is weighed by its time alone."""

log = logging.getLogger(__name__)
_announced: set[tuple[object, ...]] = set()


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a back end's forms cost per score and step, in flops of its matrix product; None for no such form."""

    update: float
    """One score's update and its share of the choice."""
    screen: tuple[float, float] | None = None
    """Share of steps at which all scores are taken, and the cost of the rest."""
    recompute: float | None = 1.0
    """Flops of the product per useful flop."""
    gram_itemsize: int
    """Bytes of an element of H."""
    large_gram_gain: float = 1.0
    """Factor of time that a larger H than SMALL_GRAM_BYTES must save to be worth its memory."""


def form_costs(
    rates: Rates, tokens: int, num_latents: int, width: int, rules: Rules, per_step: bool
) -> dict[str, float]:
    """Cost of each form that can serve, in flops of a matrix product. `per_step`: step i has its own decoder."""
    product = 2.0 * tokens * num_latents * width
    if rules.sliced:
        return {"recompute": product}
    costs = {}
    scores = float(tokens) * rules.k * num_latents
    if rates.recompute is not None:
        costs["recompute"] = rates.recompute * product * rules.k
    if rates.screen is not None:
        share, rest = rates.screen
        costs["screen"] = product + scores * (2 * width * share + rest)
    if not per_step and num_latents**2 * rates.gram_itemsize <= GRAM_BYTES_LIMIT:
        costs["update"] = product + 2.0 * num_latents**2 * width + rates.update * scores
    return costs


def refit_form(rates: Rates, num_latents: int, width: int, k: int, itemsize: int) -> str:
    """How a pursuit that changes every coefficient at each step gets its scores: "update" or "recompute".

    The first reads a row of H, of elements of `itemsize` bytes, for each active latent at every step.
    """
    row_flops = rates.update * (k + 1) / 2  # per score and step, on average
    fits = num_latents**2 * itemsize <= GRAM_BYTES_LIMIT
    return "update" if fits and row_flops < 2 * width else "recompute"


def best_form(
    rates: Rates, tokens: int, num_latents: int, width: int, rules: Rules, per_step: bool = False
) -> tuple[str, float]:
    """The form to use for these shapes, H's memory weighed against its gain, and its cost in flops of a product."""
    costs = form_costs(rates, tokens, num_latents, width, rules, per_step)
    worth = dict(costs)
    if "update" in worth and num_latents**2 * rates.gram_itemsize > SMALL_GRAM_BYTES:
        worth["update"] *= rates.large_gram_gain
    form = min(worth, key=worth.__getitem__)
    key = (form, rules.k, num_latents, width)  # not the tokens, of which there may be any number
    if key not in _announced:
        _announced.add(key)
        listing = ", ".join(f"{name} {cost:.3g}" for name, cost in costs.items())
        shapes = f"B={tokens} k={rules.k} M={num_latents} d={width}"
        log.info("matching pursuit: %s form for %s (flops of each: %s)", form, shapes, listing)
    return form, costs[form]
