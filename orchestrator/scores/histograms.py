"""How the scores of one or two coders are spread, as inline SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from orchestrator.scores.latents import CoderPage

BINS = 20
WIDTH, HEIGHT = 320, 130
LEFT, RIGHT, TOP, BOTTOM = 36, 8, 18, 20
"""Margins, in the same units as width and height."""


@dataclass(frozen=True)
class Spread:
    """The scores that one scorer gave to one coder's latents."""

    values: tuple[float, ...]
    unscored: int
    chance: float | None

    @property
    def mean(self) -> float | None:
        """None where no latent was scored."""
        return math.fsum(self.values) / len(self.values) if self.values else None

    @property
    def shares(self) -> list[float]:
        """The share of scored latents in each bin from 0 to 1, the last one with its upper edge."""
        counts = [0] * BINS
        for value in self.values:
            counts[min(max(int(value * BINS), 0), BINS - 1)] += 1
        return [count / max(len(self.values), 1) for count in counts]


def well_formed(text: str) -> str:
    """`text` escaped for HTML, with U+FFFD for surrogates that have no partner, which UTF-8 cannot write."""
    return escape(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def histograms(pages: Sequence[CoderPage]) -> str:
    """A figure per scorer, the coders laid over each other; empty where there are no scores."""
    scorers = dict.fromkeys(scorer for page in pages for scorer in page.scorers)
    return "\n".join(_figure(scorer, [spread_of(page, scorer) for page in pages]) for scorer in scorers)


def spread_of(page: CoderPage, scorer: str) -> Spread:
    """Scores of `page` by `scorer`; a latent that lacks one, or has one that is not finite, counts as not scored."""
    found = [summary.scores.get(scorer) for summary in page.latents]
    values = tuple(value for value in found if value is not None and math.isfinite(value))
    chance = page.chance.get(scorer)
    usable = chance is not None and math.isfinite(chance)
    return Spread(values, len(found) - len(values), chance if usable else None)


def _figure(scorer: str, spreads: Sequence[Spread]) -> str:
    highest = max(share for spread in spreads for share in spread.shares) or 1.0
    chances = dict.fromkeys(spread.chance for spread in spreads if spread.chance is not None)
    names = ("",) if len(spreads) == 1 else ("left: ", "right: ")
    said = [name + _summary(spread) for name, spread in zip(names, spreads, strict=True)]
    parts = [
        *_axes(highest),
        *(_bars(spread, side, highest) for side, spread in enumerate(spreads)),
        *(_rule(chance, "chance", f"chance {chance:.3g}") for chance in chances),
        *(_rule(spread.mean, f"mean side{side}") for side, spread in enumerate(spreads) if spread.mean is not None),
    ]
    items = "".join(f"<li>{_key(side)}{text}</li>" for side, text in enumerate(said))
    title = well_formed(scorer)
    return (
        f'<figure class="scores"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Histogram of {title}. {"; ".join(said)}">{"".join(parts)}</svg>'
        f"<figcaption><strong>{title}</strong><ul>{items}</ul></figcaption></figure>"
    )


def _summary(spread: Spread) -> str:
    if spread.mean is None:
        return "none scored"
    unscored = f", {spread.unscored} not scored" if spread.unscored else ""
    return f"mean {spread.mean:.3f} over {len(spread.values)}{unscored}"


def _key(side: int) -> str:
    path = f'<path class="bars side{side}" d="M1 1H15V9H1Z"/>'
    return f'<svg class="key" viewBox="0 0 16 10" aria-hidden="true">{path}</svg>'


def _x(score: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(max(score, 0.0), 1.0)


def _y(share: float, highest: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share / highest


def _axes(highest: float) -> list[str]:
    foot = HEIGHT - BOTTOM
    marks = "".join(
        f'<text class="axis" x="{_x(score):g}" y="{foot + 13}" text-anchor="middle">{score:g}</text>'
        for score in (0, 0.25, 0.5, 0.75, 1)
    )
    tops = f'<text class="axis" x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{100 * highest:.0f} %</text>'
    return [f'<path class="frame" d="M{LEFT} {TOP}V{foot}H{WIDTH - RIGHT}"/>', marks, tops]


def _bars(spread: Spread, side: int, highest: float) -> str:
    """The outline of all bars together, from the foot and back to it."""
    steps = "".join(
        f"V{_y(share, highest):.1f}H{_x((number + 1) / BINS):.1f}" for number, share in enumerate(spread.shares)
    )
    return f'<path class="bars side{side}" d="M{_x(0):.1f} {_y(0, highest):.1f}{steps}V{_y(0, highest):.1f}"/>'


def _rule(score: float, name: str, label: str = "") -> str:
    line = f'<path class="{name}" d="M{_x(score):.1f} {TOP - 4}V{HEIGHT - BOTTOM}"/>'
    middle = min(max(_x(score), LEFT + 20), WIDTH - RIGHT - 30)
    text = f'<text class="axis" x="{middle:.1f}" y="{TOP - 7}" text-anchor="middle">{label}</text>'
    return line + (text if label else "")
