"""A server that speaks S3, in a process of its own, with one bucket."""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import boto3

BUCKET = "sweeps"
KEYS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
START_SECONDS = 300


class S3Server:
    """moto's; what it holds is gone when it stops."""

    def __init__(self, directory: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        self.directory, self.host, self.port = directory, host, port or _free_port(host)
        self.url = f"http://{host}:{self.port}"
        self.environment = KEYS | {"AWS_ENDPOINT_URL": self.url}
        self.start()

    def start(self) -> None:
        with (self.directory / "s3.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", self.host, "-p", str(self.port)], stdout=log, stderr=log
            )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < end, (self.directory / "s3.log").read_text(
                "utf-8"
            )
            time.sleep(0.1)
        self.client().create_bucket(Bucket=BUCKET)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def client(self):
        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id="someone", aws_secret_access_key="secret",
            region_name="us-east-1",
        )  # fmt: skip

    def keys(self, prefix: str = "") -> list[str]:
        """Of all objects."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=10):
                return True
        except OSError:
            return False


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
