"""Keys of other services stay in the environment: no file, line of output, run in MLflow or command line has them."""

import base64
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sweeps import command, descendants
from tests.support.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.sweep

CANARIES = {
    name: f"canary{number}x{'7q' * 12}"
    for number, name in enumerate((
        "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "OPENAI_API_KEY",
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN",
    ))
}  # fmt: skip


def needles() -> dict[str, bytes]:
    """What is looked for: each value, and the user and password as a header of HTTP has them."""
    both = f"{CANARIES['MLFLOW_TRACKING_USERNAME']}:{CANARIES['MLFLOW_TRACKING_PASSWORD']}"
    plain = {name: value.encode() for name, value in CANARIES.items()}
    return plain | {"Basic authorization": base64.b64encode(both.encode())}


def leaks(where: str, content: bytes) -> list[str]:
    return [f"{name} in {where}" for name, value in needles().items() if value in content]


@pytest.fixture
def ray_directory() -> Iterator[Path]:
    """Short: Ray's sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as made:
        yield Path(made)


def test_keys_in_the_environment_reach_nothing_that_is_written(
    tiny_model: Path, tmp_path: Path, ray_directory: Path
) -> None:
    home, storage = tmp_path / "home", tmp_path / "storage"
    home.mkdir()
    environment = os.environ | CANARIES | {"HOME": str(home), "RAY_TMPDIR": str(ray_directory)}
    asked = command(tiny_model, storage, "secret", "--variant", "topk", "--hookpoint", "layers.1")
    process = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    lines: dict[str, str] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            lines.update({line: "" for _, line in descendants(process.pid)})

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
    finally:
        ended.set()
        watching.join()
        process.kill()
    assert process.returncode == 0, output.decode()[-3000:]
    assert any("raylet" in line for line in lines)
    assert any("ray::" in line for line in lines)
    found = leaks("the output", output)
    for line in lines:
        found += leaks(f"a command line: {line[:60]}", line.encode())
    written = [path for place in (storage, home, ray_directory) for path in place.rglob("*") if path.is_file()]
    names = {path.name for path in written}
    assert {"sweep.json", "mlflow.db", "journal.jsonl", "results.json", "raylet.out", "gcs_server.out"} <= names
    for path in written:
        found += leaks(str(path), path.read_bytes())
    assert found == [], "\n".join(found)
