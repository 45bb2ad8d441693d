"""Pages of latents: one file each that needs nothing else, and asks nothing of a network.

Text of models and datasets is data to the page: it stands there as JSON, and the page's script makes text nodes of it.
A content security policy admits this script and this style alone, by their hashes.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from string import Template

from orchestrator.scores.histograms import histograms, well_formed
from orchestrator.scores.latents import CoderPage
from orchestrator.scores.page_data import page_json

SCRIPTS = ("dom.js", "text.js", "data.js", "list.js", "detail.js", "page.js")
"""Joined in this order: each uses those before it."""


def latents_page(page: CoderPage) -> str:
    """HTML that shows the latents of one coder; `#latent=123` after its address opens that one."""
    return _html(page.title, [page])


def comparison_page(left: CoderPage, right: CoderPage) -> str:
    """HTML that shows two coders beside each other; `#left=1&right=2` after its address opens these."""
    return _html(f"{left.title} beside {right.title}", [left, right])


def _html(title: str, pages: Sequence[CoderPage]) -> str:
    style, script = _file("page.css"), "\n".join(_file(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_file("page.html")).substitute(
        policy=policy, title=well_formed(title), style=style, script=script, histograms=histograms(pages),
        data=page_json(pages),
    )  # fmt: skip


def _file(name: str) -> str:
    return (files("orchestrator.scores") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
