"""Machines that allow little: few open files, and almost no shared memory."""

import os
import shlex
from pathlib import Path

import pytest

from tests.chaos.disturbed import Sweep

pytestmark = pytest.mark.chaos


def under(sweep: Sweep, before: str) -> list[str]:
    """Its command line, run by a shell that has said this before."""
    return ["bash", "-c", f"{before}; exec {shlex.join(sweep.words)}"]


@pytest.mark.parametrize("files", [64, 256, 1024])
def test_few_open_files_are_enough_or_are_told(
    files: int, undisturbed: Sweep, tiny_model: Path, tmp_path: Path
) -> None:
    sweep = Sweep(tiny_model, tmp_path, "files")
    sweep.start(under(sweep, f"ulimit -n {files}"))
    said = sweep.end(0, 1, 2)
    if sweep.process.returncode == 0:
        sweep.check(undisturbed)
    else:
        assert files < 1024
        assert "Traceback" not in said
        assert "files" in said.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small /dev/shm of its own")
def test_little_shared_memory_is_made_up_for(undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    sweep = Sweep(tiny_model, tmp_path, "shm")
    small = "mount -t tmpfs -o size=16m tmpfs /dev/shm"
    sweep.start(["unshare", "--mount", *under(sweep, small)])
    sweep.end(0)
    sweep.check(undisturbed)
