"""What a sweep says of its time left, beside the time it then takes.

    python -m benchmarks.time_left                                # runs the sweep of `make sweep`, and asks it
    python -m benchmarks.time_left -- --k 16 --variant topk       # another one, with these flags
    python -m benchmarks.time_left --log FILE --seconds 309       # of a sweep that has run, and took so long

A table with a row for each line of progress; the last line counts those beyond 30 %, from the first tenth of the time
on. The last ten seconds are not counted: what is left of them is less than a line tells.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "sweeps" / "smollm_grid.py"
SAID = re.compile(r"(?:time: about (?P<plan>[\d:]+)|\| (?P<left>[\d:]+) left)")
CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d) ")
DAY = 24 * 3600
COUNTED_FROM, LAST_SECONDS, TOLERANCE = 0.1, 10.0, 0.3


@dataclass(frozen=True)
class Line:
    """One that says how much is left."""

    elapsed: float
    """Seconds since the sweep began."""
    said: float
    """Seconds."""
    text: str


def main() -> None:
    """Print the table; exits with 1 where a line that counts is beyond the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="standard output and error of a sweep, instead of running one")
    parser.add_argument("--seconds", type=float, help="how long that sweep took; until its last line unless given")
    parser.add_argument("flags", nargs="*", help="of sweeps/smollm_grid.py, after --")
    given = parser.parse_args()
    if given.log:
        timed = list(_with_clock(given.log.read_text(encoding="utf-8", errors="replace").splitlines()))
        end = given.seconds or timed[-1][0]
    else:
        timed, end = _run(given.flags)
    sys.exit(report([Line(at, said, text) for at, text in timed if (said := seconds_said(text)) is not None], end))


def seconds_said(text: str) -> float | None:
    """What a line says is left, in seconds; None where it says nothing of it."""
    if not (found := SAID.search(text)):
        return None
    parts = (found["plan"] or found["left"]).split(":")
    return float(sum(int(part) * 60**place for place, part in enumerate(reversed(parts))))


def report(lines: Iterable[Line], end: float) -> int:
    """Print the table of a sweep that took `end` seconds; returns 1 where a line that counts is far off."""
    print(f"| {'elapsed':>8} | {'share':>6} | {'said':>7} | {'true':>7} | {'ratio':>5} |")
    print("|---|---|---|---|---|")
    counted = wrong = 0
    for line in lines:
        true = end - line.elapsed
        ratio = line.said / true if true > 0 else float("inf")
        counts = line.elapsed >= COUNTED_FROM * end and true > LAST_SECONDS
        counted += counts
        wrong += counts and abs(ratio - 1) > TOLERANCE
        print(f"| {line.elapsed:7.0f}s | {line.elapsed / end:6.2f} | {line.said:6.0f}s | {true:6.0f}s | {ratio:5.2f} |")
    print(f"\n{end:.0f} s in all; of {counted} lines that count {wrong} are beyond {TOLERANCE:.0%}")
    return int(wrong > 0)


def _run(flags: list[str]) -> tuple[list[tuple[float, str]], float]:
    """Lines of a sweep as they come, and how long it took. Raises CalledProcessError where it fails."""
    with tempfile.TemporaryDirectory() as storage:
        command = [sys.executable, "-u", str(SCRIPT), "--storage", storage, *flags]
        begin, timed = time.monotonic(), []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for text in process.stdout or ():
                timed.append((time.monotonic() - begin, text.rstrip("\n")))
                print(text, end="", file=sys.stderr)
        end = time.monotonic() - begin
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    return timed, end


def _with_clock(lines: Iterable[str]) -> Iterator[tuple[float, str]]:
    """Seconds since the first line that has a time of day; lines without one have that of the line before."""
    began: float | None = None
    at = 0.0
    for text in lines:
        if found := CLOCK.match(text):
            hours, minutes, seconds = map(int, found.groups())
            now = hours * 3600.0 + minutes * 60 + seconds
            began = now if began is None else began
            at = (now - began) % DAY
        yield at, text


if __name__ == "__main__":
    main()
