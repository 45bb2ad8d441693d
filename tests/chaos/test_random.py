"""Several things happen to a sweep, at moments drawn from a seed; whatever they are, it ends as if nothing had."""

import logging
import os
import random
import signal
from pathlib import Path

import pytest

from tests.chaos.disturbed import BROKER, EXTRACTOR, GCS, RAYLET, TRIAL, Sweep, flip
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
    """Let it happen; returns when the sweep runs, again or still."""
    sweep.note()
    if kind == "bit":
        sweep.damage(flip)
    elif isinstance(kind, str):
        for pid in sweep.pids(kind)[:1]:
            os.kill(pid, signal.SIGKILL)
            if kind in DEADLY:
                sweep.resume(sweep.end(*DEADLY[kind]))
    else:
        sweep.send(kind)
        ends = -signal.SIGKILL if kind == signal.SIGKILL else 128 + kind
        sweep.resume(sweep.end(ends))


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
