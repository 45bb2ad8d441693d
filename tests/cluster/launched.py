"""A Ray cluster on several hosts, launched and asked as its user would: with Ray's own commands and one file."""

import json
import os
import pty
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from tests.cluster.hosts import CHECKOUT, Host
from tests.support.waiting import LIMIT_SECONDS, content_of, wait_until

BIN = CHECKOUT / ".venv" / "bin"
DASHBOARD = "http://127.0.0.1:8265"


def on_these_hosts(text: str, hosts: Sequence[Host], key: Path) -> str:
    """cluster.yaml with its provider, auth and node sections replaced, as docs/cluster.md says, and nothing else."""
    config = yaml.safe_load(text)
    for section in ("provider", "auth", "head_node_type", "available_node_types"):
        del config[section]
    head, *workers = (host.address for host in hosts)
    config["provider"] = {"type": "local", "head_ip": head, "worker_ips": workers}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(key)}
    return yaml.safe_dump(config, sort_keys=False)


class Launched:
    """One cluster, by its file; `home` is the home directory of the person who launches it."""

    def __init__(self, file: Path, home: Path) -> None:
        self.file = file
        self.tunnels = ExitStack()
        """What stays open to it: of the person's, not of the cluster's."""
        inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        self.environment = {
            **inherited, "HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_AUTH_MODE": "token",
            "RAY_TMPDIR": str(home), "RAY_API_SERVER_ADDRESS": DASHBOARD, "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        self.ray("get-auth-token", "--generate")
        self.token = (home / ".ray" / "auth_token").read_text(encoding="utf-8").strip()

    def ray(self, *words: str) -> str:
        """What a `ray` command prints. It must end well."""
        done = subprocess.run(
            ["ray", *words], env=self.environment, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=LIMIT_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"ray {' '.join(words)}: {(done.stdout + done.stderr)[-6000:]}"
        return done.stdout

    @contextmanager
    def open(self, *words: str) -> Iterator[None]:
        """A `ray` command that stays until the block ends, on a terminal of its own."""
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(CHECKOUT)
            os.execvpe("ray", ["ray", *words], self.environment)
        try:
            yield
        finally:
            os.kill(process, 15)
            os.close(terminal)
            os.waitpid(process, 0)

    def ask(self, url: str) -> bytes | None:
        """What a page on this machine's loopback holds; None while nobody answers there."""
        return content_of(urllib.request.Request(url, headers={"Authorization": f"Bearer {self.token}"}))

    def nodes(self) -> int:
        """Nodes that are alive, by the dashboard."""
        said = self.ask(f"{DASHBOARD}/nodes?view=summary")
        summary = json.loads(said)["data"]["summary"] if said else []
        return sum(node["raylet"]["state"] == "ALIVE" for node in summary)

    def submit(self, job: str, *words: str, options: Sequence[str] = ()) -> None:
        """Start a sweep on the head, and return."""
        self.ray("job", "submit", "--no-wait", "--submission-id", job, *options, "--", *words)

    def status(self, job: str) -> str:
        """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
        said = self.ask(f"{DASHBOARD}/api/jobs/{job}")
        return str(json.loads(said)["status"]) if said else "PENDING"

    def ended(self, job: str) -> str:
        """Wait for a job to end, and return how."""
        return str(wait_until(lambda: (now := self.status(job)) not in ("PENDING", "RUNNING") and now, f"job {job}"))
