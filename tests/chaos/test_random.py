"""Several things happen to a sweep, at moments drawn from a seed; whatever they are, it ends as if nothing had."""

import logging
import random
import signal
from pathlib import Path

import pytest

from tests.chaos.disturbed import BROKER, EXTRACTOR, GCS, RAYLET, TRIAL, Sweep, flip, tell
from tests.support.sweeps import finished

pytestmark = pytest.mark.chaos
log = logging.getLogger(__name__)

DEADLY = {RAYLET: (2,), GCS: (1, 2)}
"""What a sweep does not outlive, and how it ends."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
KINDS = (TRIAL, EXTRACTOR, BROKER, "bit", *DEADLY, *SIGNALS)
MOST_PER_ROUND = 3


def progress(sweep: Sweep) -> int:
    """Entries of the journal: of starts, curves, checkpoints' hand-overs and ends."""
    journal = sweep.directory / "tracking" / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.is_file() else 0


def disturb(sweep: Sweep, kind: object) -> None:
    """Let it happen; returns when the sweep runs, again or still, or is over."""
    sweep.note()
    if kind == "bit":
        sweep.damage(flip)
    elif isinstance(kind, str):
        struck = [pid for pid in sweep.pids(kind)[:1] if tell(signal.SIGKILL, pid)]
        if struck and kind in DEADLY:
            go_on_after(sweep, *DEADLY[kind])
    else:
        sweep.send(kind)
        go_on_after(sweep, -signal.SIGKILL if kind == signal.SIGKILL else 128 + kind)


def go_on_after(sweep: Sweep, *ends: int) -> None:
    """Resume it once it has ended in one of these ways; it may have been over before anything could happen to it."""
    said = sweep.end(0, *ends)
    if sweep.process.returncode != 0:
        sweep.resume(said)


def test_a_round(round_seed: int, undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    drawn = random.Random(round_seed)
    sweep = Sweep(tiny_model, tmp_path, f"round-{round_seed}", "--max-failures", "20").start()
    sweep.until(lambda: progress(sweep) > 1)
    for kind in drawn.choices(KINDS, k=drawn.randint(1, MOST_PER_ROUND)):
        target = progress(sweep) + drawn.randint(0, 12)
        sweep.until(lambda target=target: progress(sweep) >= target or len(finished(sweep.directory)) == 4)
        if sweep.process.poll() is not None or len(finished(sweep.directory)) == 4:
            break
        log.info("round %d: %s", round_seed, kind)
        disturb(sweep, kind)
    sweep.end(0)
    sweep.check(undisturbed)
