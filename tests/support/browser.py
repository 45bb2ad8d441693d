"""A real Chromium without a window: what a page holds once its scripts have run, or what they report."""

import asyncio
import base64
import html
import itertools
import os
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.waiting import LIMIT_SECONDS, wait_until

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no browser here: apt-get install chromium")
ASK_SECONDS = 0.1
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


def watched(url: str, profile: Path, script: str, name: str = "") -> Any:
    """What the expression `script` says of the page as soon as it is true; it is asked again and again.

    Unlike `texts` it takes the page as a person has it before them: in its own time, while it still works. With a
    `name`, and a directory in the variable SCREENSHOTS, a picture of it is kept there.
    """
    command = _chromium(profile, "--window-size=1800,1400", "--remote-debugging-port=0", url)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            port_file = profile / "DevToolsActivePort"
            wait_until(lambda: port_file.is_file() and port_file.read_text().count("\n") == 1, "Chromium listens")
            port = int(port_file.read_text().split()[0])
            value, picture = asyncio.run(asyncio.wait_for(_asked(port, script), LIMIT_SECONDS))
            if name and (directory := os.environ.get("SCREENSHOTS")):
                Path(directory).mkdir(parents=True, exist_ok=True)
                (Path(directory) / name).write_bytes(picture)
            return value
        finally:
            browser.terminate()


async def _asked(port: int, script: str) -> tuple[Any, bytes]:
    """The value and a picture, PNG."""
    numbers = itertools.count(1)
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            (page,) = [target for target in await answer.json(content_type=None) if target["type"] == "page"]
        async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:

            async def call(method: str, **params: Any) -> dict[str, Any]:
                number = next(numbers)
                await socket.send_json({"id": number, "method": method, "params": params})
                while (told := await socket.receive_json()).get("id") != number:
                    pass
                result: dict[str, Any] = told.get("result", {})
                return result

            value: Any = None
            while not value:
                value = (await call("Runtime.evaluate", expression=script, returnByValue=True))["result"].get("value")
                await asyncio.sleep(ASK_SECONDS)
            return value, base64.b64decode((await call("Page.captureScreenshot", format="png"))["data"])


def _chromium(profile: Path, *words: str) -> list[str]:
    """A command line of Chromium's."""
    shared = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}")
    return [str(CHROMIUM), *shared, *words]
