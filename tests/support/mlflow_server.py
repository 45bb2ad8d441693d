"""A real MLflow server, to be killed and started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from orchestrator.tracking.addresses import default_uri
from tests.support.waiting import content_of, free_port


class Server:
    """A real `mlflow server` on a free loopback port, with the store and the artifacts in `directory`."""

    def __init__(self, directory: Path, python: str = sys.executable) -> None:
        """`python` has the release of MLflow that serves."""
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._directory, self._python = directory, python
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [self._python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", default_uri(self._directory)]
        command += ["--artifacts-destination", str(self._directory / "served")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def answers(self) -> bool:
        assert self._process is None or self._process.poll() is None, "MLflow's server has ended"
        return content_of(f"{self.uri}/health") == b"OK"
