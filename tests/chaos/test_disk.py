"""The disk under a sweep is full: it says so, and goes on once there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.disturbed import KEPT, Sweep

pytestmark = [pytest.mark.chaos, pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    """Until nothing more fits."""
    with (place / "filler").open("wb", buffering=0) as filler:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                continue


def test_a_full_disk_loses_nothing(undisturbed: Sweep, tiny_model: Path, small_disk: Path) -> None:
    """Of checkpoints and of the journal alike: both are written there, and whichever is first meets it."""
    sweep = Sweep(tiny_model, small_disk, "full")
    sweep.start(output=small_disk.parent / "output")
    sweep.until_half_done()
    sweep.note()
    fill(small_disk)
    said = sweep.end(1, 2)
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert KEPT in said
    (small_disk / "filler").unlink()
    sweep.resume(said, output=small_disk.parent / "output").end(0)
    sweep.check(undisturbed)
