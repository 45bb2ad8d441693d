"""Pages of latents read back: their elements, and the data they carry."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from typing import Any

from orchestrator.scores.latents import CoderPage, Context, LatentSummary


class Reader(HTMLParser):
    """The elements of a page, what is in its scripts and styles, and the text around them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.text += data
        else:
            self.inside.append((self.cdata_elem, data))

    def raw(self, tag: str) -> list[str]:
        return [data for name, data in self.inside if name == tag]

    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def data_of(html: str) -> Any:
    data, _ = Reader(html).raw("script")
    assert not re.search("[<>&\u2028\u2029]", data)
    assert data.isascii()
    return json.loads(data, parse_constant=refuse)


def read_back(html: str) -> list[CoderPage]:
    """The pages as they were given, up to rounding; scores that are not there are None."""
    data = data_of(html)
    return [_coder(coder, data["strings"]) for coder in data["coders"]]


def _coder(coder: Any, strings: list[str]) -> CoderPage:
    chance = dict(zip(coder["scorers"], coder["chance"], strict=True))
    latents = tuple(_latent(latent, coder["scorers"], strings) for latent in coder["latents"])
    known = {scorer: value for scorer, value in chance.items() if value is not None}
    return CoderPage(coder["title"], dict(coder["facts"]), known, latents)


def _latent(latent: Any, scorers: list[str], strings: list[str]) -> LatentSummary:
    return LatentSummary(
        latent=latent["latent"],
        firing_rate=latent["rate"],
        max_activation=latent["max"],
        explanation=latent["explanation"],
        scores=dict(zip(scorers, latent["scores"], strict=True)),
        contexts=tuple(_context(context, strings) for context in latent["contexts"]),
        neighbours=tuple((other, cosine) for other, cosine in latent["neighbours"]),
        promoted=tuple((strings[token], weight) for token, weight in latent["promoted"]),
        suppressed=tuple((strings[token], weight) for token, weight in latent["suppressed"]),
        mostly_at_step=latent["step"],
    )


def _context(context: Any, strings: list[str]) -> Context:
    quantile, tokens, fires, values = context
    activations = [0.0] * len(tokens)
    for position, value in zip(fires, values, strict=True):
        activations[position] = value
    return Context(tuple(strings[token] for token in tokens), tuple(activations), quantile)


def as_shown(page: CoderPage) -> CoderPage:
    """`page` with activations to 3 significant digits, other numbers to 4, and a score for every scorer."""
    return dataclasses.replace(page, latents=tuple(_shown(latent, page.scorers) for latent in page.latents))


def _shown(latent: LatentSummary, scorers: tuple[str, ...]) -> LatentSummary:
    def four(value: Any) -> Any:
        return None if value is None else float(f"{value:.4g}")

    def pairs(given: Any) -> Any:
        return tuple((name, four(value)) for name, value in given)

    return LatentSummary(
        latent=latent.latent,
        firing_rate=four(latent.firing_rate),
        max_activation=four(latent.max_activation),
        explanation=latent.explanation,
        scores={scorer: four(latent.scores.get(scorer)) for scorer in scorers},
        contexts=tuple(
            dataclasses.replace(context, activations=tuple(float(f"{value:.3g}") for value in context.activations))
            for context in latent.contexts
        ),
        neighbours=pairs(latent.neighbours),
        promoted=pairs(latent.promoted),
        suppressed=pairs(latent.suppressed),
        mostly_at_step=four(latent.mostly_at_step),
    )
