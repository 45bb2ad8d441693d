"""A server that speaks S3, for whoever asks for one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.s3_server import S3Server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["S3Server"]:
    from tests.support.s3_server import S3Server  # boto3 is not on machines that run tests of GPUs alone

    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()
