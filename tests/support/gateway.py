"""A gateway before a real server that knows fewer addresses: what an older release of it would not find, either."""

import contextlib
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Passes on what it is asked, and what is answered."""

    server: "_Gateway"

    def pass_on(self) -> None:
        """One question, by whatever method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.unknown in self.path:
            self._answer(404, b"<!doctype html><title>404 Not Found</title>")
            return
        kept = {"Content-Type": self.headers["Content-Type"]} if self.headers["Content-Type"] else {}
        asked = urllib.request.Request(self.server.behind + self.path, body or None, kept, method=self.command)
        try:
            with urllib.request.urlopen(asked) as answer:
                self._answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Gateway(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behind: str, unknown: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind, self.unknown = behind, unknown


@contextlib.contextmanager
def gateway(behind: str, unknown: str) -> Iterator[str]:
    """The address of one before the server at `behind`, which does not know addresses that have `unknown` in them."""
    with _Gateway(behind, unknown) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
