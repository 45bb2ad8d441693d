"""The disk under a part of a sweep is full: it says so, and goes on once there is room."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.disturbed import KEPT, Sweep
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")]


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Within the block a directory, with all that is in it, is a file system of its own."""
    before = place.rename(place.with_name("before"))
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)], check=True)
    try:
        shutil.copytree(before, place, dirs_exist_ok=True)
        shutil.rmtree(before)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    """Until nothing more fits."""
    with (place / "filler").open("ab", buffering=0) as filler:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                continue


@pytest.mark.parametrize(
    ("full", "ends", "line"),
    [
        ("trials", 1, r"failed: \S+: OSError: \[Errno 28\] No space left on device"),
        ("tracking", 2, r"error: cannot write: No space left on device.*; free some room and try again"),
    ],
    ids=["checkpoints", "the journal"],
)
def test_a_full_disk_loses_nothing(
    full: str, ends: int, line: str, undisturbed: Sweep, tiny_model: Path, tmp_path: Path
) -> None:
    """That of checkpoints, or that of the journal: each has one of its own, so that it is the one that is met."""
    sweep = Sweep(tiny_model, tmp_path, "full", "--max-failures", "0").start()
    sweep.until_half_done()
    sweep.send(signal.SIGTERM)
    said = sweep.end(128 + signal.SIGTERM)
    place = sweep.directory / full
    with small_disk(place):
        sweep.resume(said)
        with sweep.held():
            fill(place)

        def over() -> bool:
            sweep.pids("")
            fill(place)  # what older checkpoints leave behind, too
            return sweep.process.poll() is not None

        wait_until(over, "the end of the sweep")
        said = sweep.end(ends)
        assert [found for found in said.splitlines() if re.fullmatch(line, found)], said
        assert "Traceback" not in said
        assert KEPT in said
        (place / "filler").unlink()
        sweep.resume(said).end(0)
        sweep.check(undisturbed)
