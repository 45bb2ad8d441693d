"""Links from the page of a sweep to its pages of latents."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import quote

PATTERNS = {"Latents of each trial": "trials/*/scores/latents.html", "Beside TopK's": "comparisons/*.html"}
"""Headings, and where in a sweep's directory the pages under them are."""


def links_to_latents(directory: Path) -> str:
    """HTML of links to the pages that lie beside `directory`, where the page is; empty where there are none.

    The page's own script takes the links away where the page is not at home any more, and leaves the paths.
    """
    home = directory.resolve().parent
    lists = [
        f"<h3>{heading}</h3>\n{_list(home, found)}"
        for heading, pattern in PATTERNS.items()
        if (found := sorted(home.glob(pattern)))
    ]
    return "\n".join(lists)


def _list(home: Path, pages: Iterable[Path]) -> str:
    items = (page.relative_to(home).as_posix() for page in pages)
    return "<ul>\n" + "\n".join(f'<li><a href="../{quote(item)}">{escape(item)}</a></li>' for item in items) + "\n</ul>"
