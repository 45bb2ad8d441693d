"""Several things happen to a sweep, at moments drawn from a seed; whatever they are, it ends as if nothing had."""

import itertools
import logging
import random
import signal
from pathlib import Path

import pytest

from tests.chaos.disturbed import BROKER, EXTRACTOR, GCS, RAYLET, TRIAL, Sweep, cut, flip, tell
from tests.support.sweeps import finished
from tests.support.waiting import wait_until

pytestmark = pytest.mark.chaos
log = logging.getLogger(__name__)

DEADLY = {RAYLET: (2,), GCS: (1, 2)}
"""What a sweep does not outlive, and how it ends."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
DAMAGES = {"bit": flip, "cut": cut}
"""Of all newest checkpoints."""
KINDS: tuple[str | signal.Signals, ...] = (TRIAL, EXTRACTOR, BROKER, *DAMAGES, *DEADLY, *SIGNALS)
MOST_PER_ROUND = 3


def progress(sweep: Sweep) -> int:
    """Entries of the journal: of starts, curves, checkpoints' hand-overs and ends."""
    journal = sweep.directory / "tracking" / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.is_file() else 0


def over(sweep: Sweep) -> bool:
    """Whether nothing can happen to it any more."""
    return sweep.process.poll() is not None or len(finished(sweep.directory)) == 4


def disturb(sweep: Sweep, kind: str | signal.Signals) -> bool:
    """Let it happen; returns when the sweep runs, again or still, or is over. False where there was nothing to hit."""
    sweep.note()
    if isinstance(kind, signal.Signals):
        sweep.send(kind)
        return went_on_after(sweep, -signal.SIGKILL if kind == signal.SIGKILL else 128 + kind)
    if kind in DAMAGES:
        return sweep.damage(DAMAGES[kind]) > 0
    struck = any(tell(signal.SIGKILL, pid) for pid in sweep.pids(kind)[:1])
    return went_on_after(sweep, *DEADLY[kind]) if struck and kind in DEADLY else struck


def went_on_after(sweep: Sweep, *ends: int) -> bool:
    """Resume it once it has ended in one of these ways; False where it was over before anything could happen to it."""
    said = sweep.end(0, *ends)
    if sweep.process.returncode == 0:
        return False
    sweep.resume(said)
    return True


def strike(sweep: Sweep, drawn: random.Random) -> list[str | signal.Signals]:
    """Let things happen until as many as were drawn have, or the sweep is over; returns which did."""
    struck: list[str | signal.Signals] = []
    most, target = drawn.randint(1, MOST_PER_ROUND), 2 + drawn.randint(0, 12)
    while len(struck) < most:
        wait_until(lambda target=target: over(sweep) or progress(sweep) >= target)
        if over(sweep):
            break
        kind = drawn.choice(KINDS)
        hit = disturb(sweep, kind)
        log.info("%s: %s%s", sweep.name, kind, "" if hit else ", of which there was none")
        struck += [kind] * hit
        # Not at once: a driver that was just resumed has to get as far as its first entry to be asked to end in order.
        target = progress(sweep) + drawn.randint(1, 12)
    return struck


def test_a_round(round_seed: int, undisturbed: Sweep, tiny_model: Path, tmp_path: Path) -> None:
    """A sweep that is over before a busy machine let anything happen to it proves nothing: another one begins."""
    drawn = random.Random(round_seed)
    for number in itertools.count():
        sweep = Sweep(tiny_model, tmp_path, f"round-{round_seed}-{number}", "--max-failures", "20").start()
        struck = strike(sweep, drawn)
        sweep.end(0)
        sweep.check(undisturbed)
        if struck:
            break
