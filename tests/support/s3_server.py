"""A server that speaks S3, in a process of its own, with one bucket."""

import subprocess
import sys
from pathlib import Path

import boto3

from tests.support.waiting import content_of, free_port, wait_until

BUCKET = "sweeps"
KEYS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class S3Server:
    """moto's; what it holds is gone when it stops."""

    def __init__(self, directory: Path, host: str = "127.0.0.1") -> None:
        port, said = free_port(host), directory / "s3.log"
        self.url = f"http://{host}:{port}"
        self.environment = KEYS | {"AWS_ENDPOINT_URL": self.url}
        with said.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)], stdout=log, stderr=log
            )

        def answers() -> bool:
            assert self.process.poll() is None, said.read_text(encoding="utf-8")
            return self._answers()

        wait_until(answers, "the S3 server")
        self.client().create_bucket(Bucket=BUCKET)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def client(self):
        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"], region_name=KEYS["AWS_DEFAULT_REGION"],
        )  # fmt: skip

    def keys(self, prefix: str = "") -> list[str]:
        """Of all objects."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def _answers(self) -> bool:
        return content_of(f"{self.url}/moto-api/") is not None
