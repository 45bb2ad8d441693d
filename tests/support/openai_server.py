"""A server that speaks OpenAI's protocol and serves the packaged model, as a process of its own: `python -m` runs it.

python -m tests.support.openai_server PORT [--key KEY] [--busy N]
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from orchestrator.scores.llm_transformers import TransformersClient

MODEL = "packaged"
ROOT = Path(__file__).parents[2]

StartServer = Callable[..., tuple[subprocess.Popen[str], str]]
"""From further words and a `port` to the process and its address."""


@contextlib.contextmanager
def servers() -> Iterator[StartServer]:
    """Starts servers, which end with the block."""
    with contextlib.ExitStack() as running:

        def begin(*words: str, port: int = 0) -> tuple[subprocess.Popen[str], str]:
            command = [sys.executable, "-m", "tests.support.openai_server", str(port), *words]
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            running.callback(process.wait)
            running.callback(process.kill)
            return process, f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"

        yield begin


class Server(ThreadingHTTPServer):
    """Answers one question at a time."""

    def __init__(self, port: int, key: str | None, busy: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.key, self.busy = key, busy
        self.model, self.lock = TransformersClient(MODEL), threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Two addresses."""

    server: Server

    def do_GET(self) -> None:
        """Which models there are."""
        if self._may_ask():
            self._send(200, {"data": [{"id": MODEL}]})

    def do_POST(self) -> None:
        """An answer to a chat."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._may_ask():
            return
        if self.server.busy > 0:
            self.server.busy -= 1
            self._send(429, {"error": "busy"}, {"Retry-After": "1"})
            return
        with self.server.lock:
            options = {name: asked[name] for name in ("max_tokens", "temperature")}
            text = asyncio.run(self.server.model.generate(asked["messages"], **options)).text
        self._send(200, {"choices": [{"message": {"role": "assistant", "content": text}}]})

    def _may_ask(self) -> bool:
        given = self.headers.get("Authorization", "")
        if self.server.key is None or given == f"Bearer {self.server.key}":
            return True
        self._send(401, {"error": f"{given} is no key of this server"})
        return False

    def _send(self, status: int, content: dict[str, Any], more: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def main() -> None:
    """Serve until killed; prints the port once it listens."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--key")
    parser.add_argument("--busy", type=int, default=0)
    given = parser.parse_args()
    server = Server(given.port, given.key, given.busy)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
