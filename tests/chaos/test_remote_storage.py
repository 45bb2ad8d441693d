"""Sweeps whose storage is a real S3-speaking server: nothing that matters is on a machine alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.storage.address import home_of
from tests.support.s3_server import BUCKET, S3Server
from tests.support.sweeps import SCRIPT, command, finish, gone, results, runs_of, until

STORAGE = Path(f"s3://{BUCKET}/ours")


@pytest.fixture
def caches(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's own files, the packaged model's not among them."""
    for name, value in (s3_server.environment | {"XDG_CACHE_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def sweep(tiny_model: Path, storage: str, name: str) -> list[str]:
    more = ["--variant", "topk", "--scores", "laptop", "--seed", "0", "1", "--hookpoint", "layers.1"]
    words = command(tiny_model, Path("unused"), name, *more, "--storage", storage)
    return [word for word in words if word != "none"]


@pytest.mark.chaos
def test_a_sweep_goes_on_on_another_machine(tiny_model: Path, s3_server: S3Server, caches: Path) -> None:
    finish(*sweep(tiny_model, str(caches / "plain"), "plain"))
    expected = results(caches / "plain", "plain")

    process = subprocess.Popen(sweep(tiny_model, f"s3://{BUCKET}/ours", "moved"), stderr=subprocess.DEVNULL)
    until(lambda: any(key.endswith("manifest.json") for key in s3_server.keys("ours/moved/trials")), process)
    started = set(psutil.Process(process.pid).children(recursive=True))
    process.kill()
    process.wait()
    gone(started)
    home = home_of(STORAGE)
    assert (home / "moved").is_dir()
    shutil.rmtree(home)  # another machine has none of it
    said = finish(sys.executable, str(SCRIPT), "--storage", f"s3://{BUCKET}/ours", "--resume", "moved")
    assert f"kept at s3://{BUCKET}/ours/moved" in said
    assert results(home, "moved") == expected
    runs = runs_of(home, "moved")
    assert len(runs) == 3 and {run.info.status for run in runs} == {"FINISHED"}

    kept = s3_server.keys("ours/moved")
    assert not [key for key in kept if "/step-" in key or "/tune/" in key]
    for name in ("sweep.json", "results.json", "tracking/journal.jsonl", "comparison.md"):
        assert f"ours/moved/{name}" in kept
    for trial in expected:
        for name in ("result.json", "coder/sae.safetensors", "scores/scores.json", "scores/latents.parquet"):
            assert f"ours/moved/trials/{trial}/{name}" in kept, name

    refused = finish(*sweep(tiny_model, f"s3://{BUCKET}/ours", "moved"), expect=2)
    assert "error: name 'moved': exists in s3://" in refused


@pytest.mark.sweep
def test_a_bucket_that_is_not_there_is_one_line(tiny_model: Path, s3_server: S3Server, caches: Path) -> None:
    said = finish(*sweep(tiny_model, "s3://no-such-bucket/x", "lost"), expect=2)
    assert said.splitlines()[-1].startswith("error: storage 's3://no-such-bucket/x': cannot be ")
    assert not (home_of(Path("s3://no-such-bucket/x")) / "lost").exists()
