"""Coders and their latents as JSON for a page: compact, and safe inside a script element.

Every token is in one table of strings, the most frequent first, and contexts hold indices into it. A context is
[quantile, token indices, positions that fire, their activations]. Numbers that are not finite become null.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.scores.latents import CoderPage, Context, LatentSummary

ACTIVATION_DIGITS = 3
"""Significant digits of an activation of a token."""
DIGITS = 4
"""Significant digits of every other number."""
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&"})


def page_json(pages: Sequence[CoderPage]) -> str:
    """The data of `pages` as JSON in ASCII without <, > and &, so that no text in it ends a script element.

    Lone surrogates are escaped like all that is not ASCII, so the result can always be encoded.
    """
    counts = Counter(token for page in pages for summary in page.latents for token in _tokens(summary))
    strings = sorted(counts, key=lambda token: (-counts[token], token))
    index = {token: number for number, token in enumerate(strings)}
    data = {"strings": strings, "coders": [_coder(page, index) for page in pages]}
    return json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def rounded(value: float | None, digits: int) -> float | None:
    """`value` to so many significant digits, an int where it is whole; None where it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 10**digits else short


def _tokens(summary: LatentSummary) -> Iterator[str]:
    for context in summary.contexts:
        yield from context.tokens
    for token, _ in (*summary.promoted, *summary.suppressed):
        yield token


def _coder(page: CoderPage, index: Mapping[str, int]) -> dict[str, Any]:
    return {
        "title": page.title,
        "facts": list(page.facts.items()),
        "scorers": page.scorers,
        "chance": [rounded(page.chance.get(scorer), DIGITS) for scorer in page.scorers],
        "latents": [_latent(summary, page.scorers, index) for summary in page.latents],
    }


def _latent(summary: LatentSummary, scorers: Sequence[str], index: Mapping[str, int]) -> dict[str, Any]:
    return {
        "latent": summary.latent,
        "rate": rounded(summary.firing_rate, DIGITS),
        "max": rounded(summary.max_activation, DIGITS),
        "step": rounded(summary.mostly_at_step, DIGITS),
        "explanation": summary.explanation,
        "scores": [rounded(summary.scores.get(scorer), DIGITS) for scorer in scorers],
        "contexts": [_context(context, index) for context in summary.contexts],
        "neighbours": [[latent, rounded(cosine, DIGITS)] for latent, cosine in summary.neighbours],
        "promoted": [[index[token], rounded(weight, DIGITS)] for token, weight in summary.promoted],
        "suppressed": [[index[token], rounded(weight, DIGITS)] for token, weight in summary.suppressed],
    }


def _context(context: Context, index: Mapping[str, int]) -> list[Any]:
    values = [rounded(activation, ACTIVATION_DIGITS) for activation in context.activations]
    fires = [position for position, value in enumerate(values) if value != 0]
    tokens = [index[token] for token in context.tokens]
    return [context.quantile, tokens, fires, [values[position] for position in fires]]
