"""A real Chromium without a window: what a page holds once its scripts have run, or what they report."""

import html
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.waiting import LIMIT_SECONDS, wait_until

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no browser here: apt-get install chromium")
PATIENCE_MS = 120_000
"""Of the page's own clock, which stands still while it waits for the server."""


def texts(url: str, profile: Path) -> list[str]:
    """Every text on the page, in order. `profile` is a directory for what the browser keeps."""
    command = _chromium(profile, "--window-size=4000,2400", f"--virtual-time-budget={PATIENCE_MS}", "--dump-dom", url)
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    body = re.sub(r"<(script|style)\b.*?</\1>", "", done.stdout, flags=re.DOTALL)
    return [text for text in (html.unescape(piece).strip() for piece in re.split(r"<[^>]+>", body)) if text]


def posted(site: Path, page: str, *flags: str) -> str:
    """What a page of the directory `site` sends home by POST, whenever that is; `flags` are Chromium's."""
    bodies: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{page}"
        command = _chromium(site / "profile", "--window-size=2400,2400", *flags, url)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                wait_until(lambda: bool(bodies), "the page reports")
            finally:
                browser.terminate()
                server.shutdown()
    return bodies[0]


def _chromium(profile: Path, *words: str) -> list[str]:
    """A command line of Chromium's."""
    shared = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}")
    return [str(CHROMIUM), *shared, *words]
