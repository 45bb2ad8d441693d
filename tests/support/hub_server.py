"""A hub on this machine: as much of the Hugging Face hub's HTTP interface as its own client needs for a coder, and
`datasets` for one without directories.

Large files go by Git LFS; the hub's newer storage (Xet) is not here.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """What is on it."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Contents by repository and path."""
    private: dict[str, object] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Large files by their SHA-256, before a commit says where they go."""
    refuse: int = 0
    """An HTTP status for all that asks to write."""

    def sha(self, repo: str) -> str:
        return hashlib.sha1(repr(sorted(self.files[repo].items())).encode()).hexdigest()


def mode(path: str) -> str:
    """How a file is to be uploaded."""
    return "lfs" if path.endswith(".safetensors") else "regular"


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, content: object) -> None:
        self.answer(200, json.dumps(content).encode(), Content_Type="application/json")

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self) -> None:
        body, path = self.body(), self.path.partition("?")[0].split("/")[1:]
        if path == ["api", "validate-yaml"]:
            return self.answer_json({"warnings": [], "errors": []})
        if self.hub.refuse:
            return self.answer(self.hub.refuse, b'{"error": "no"}')
        if path == ["api", "repos", "create"]:
            return self.create(json.loads(body))
        if path[2:] == ["info", "lfs", "objects", "batch"]:
            objects = [thing | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{thing['oid']}"}}}
                       for thing in json.loads(body)["objects"]]  # fmt: skip
            return self.answer_json({"transfer": "basic", "objects": objects})
        repo, action = "/".join(path[2:4]), path[4]
        if action == "paths-info":
            return self.answer_json([info for info in self.listing(repo) if info["path"] in body.decode()])
        if action == "preupload":
            files = [{"path": file["path"], "uploadMode": mode(file["path"]), "shouldIgnore": False, "oid": None}
                     for file in json.loads(body)["files"]]  # fmt: skip
            return self.answer_json({"files": files})
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.hub.commits.append(value["summary"])
            elif line["key"] == "lfsFile":
                self.hub.files[repo][value["path"]] = self.hub.blobs[value["oid"]]
            else:
                self.hub.files[repo][value["path"]] = base64.b64decode(value["content"])
        sha = self.hub.sha(repo)
        self.answer_json({"commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})

    def do_PUT(self) -> None:
        self.hub.blobs[self.path.rpartition("/")[2]] = self.body()
        self.answer(200)

    def create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.hub.files:
            return self.answer(409, json.dumps({"url": f"{self.hub.url}/{repo}"}).encode())
        self.hub.files[repo] = {".gitattributes": b""}
        self.hub.private[repo] = asked.get("private", asked.get("visibility"))
        self.answer_json({"url": f"{self.hub.url}/{repo}"})

    def listing(self, repo: str) -> list[dict[str, Any]]:
        return [{"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.hub.files[repo].items()]  # fmt: skip

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.removeprefix("/datasets").partition("?")[0].split("/")[1:]
        repo = "/".join(path[2:4] if path[0] == "api" else path[:2])
        files = self.hub.files.get(repo)
        if files is None:
            return self.answer(404, X_Error_Code="RepoNotFound")
        if path[0] == "api" and "tree" in path:
            return self.answer_json(self.listing(repo))
        if path[0] == "api":
            siblings = [{"rfilename": name} for name in files]
            return self.answer_json({"id": repo, "sha": self.hub.sha(repo), "siblings": siblings})
        name = "/".join(path[4:])
        if name not in files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
        self.answer(200, files[name], ETag=etag, X_Repo_Commit=self.hub.sha(repo))


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that is up until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
