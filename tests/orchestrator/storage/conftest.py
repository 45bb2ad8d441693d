"""A place at an address."""

import pytest

from orchestrator.storage.remote import Remote
from tests.support.s3_server import BUCKET, S3Server


@pytest.fixture
def remote(s3_server: S3Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """A place there of this test's own."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return Remote.at(f"s3://{BUCKET}/{request.node.name.replace('[', '-').replace(']', '')}")
