"""A real Chromium without a window: what a page holds once its scripts have run."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.waiting import LIMIT_SECONDS

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no browser here: apt-get install chromium")
PATIENCE_MS = 120_000
"""Of the page's own clock, which stands still while it waits for the server."""


def texts(url: str, profile: Path, *flags: str) -> list[str]:
    """Every text on the page, in order. `profile` is a directory for what the browser keeps, `flags` are Chromium's."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}",
        "--window-size=4000,2400", f"--virtual-time-budget={PATIENCE_MS}", *flags, "--dump-dom", url,
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    body = re.sub(r"<(script|style)\b.*?</\1>", "", done.stdout, flags=re.DOTALL)
    return [text for text in (html.unescape(piece).strip() for piece in re.split(r"<[^>]+>", body)) if text]
