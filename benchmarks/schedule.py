"""Runs the work in rounds, each contestant in a fresh process every round: drift of the machine hits all alike."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.presets import Preset
from benchmarks.problem import Case
from benchmarks.worker import CONTESTANTS, MARK
from orchestrator.errors import UserError

ENOUGH_S = 10.0
"""A contestant that has been timed for this long at a case is left out of the later rounds there."""
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Settings:
    """What is the same for every process of a run."""

    activations: Path
    device: str
    threads: int
    limit_s: float | None = None
    """Longest life of a process, after which it is killed; none unless given."""


Row = dict[str, Any]
"""One contestant at one case: the worker's finding, its times those of all rounds."""


def run_preset(
    preset: Preset,
    settings: Settings,
    tell: Callable[[int, str, Case, Row], None] | None = None,
    tell_rates: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, Any]:
    """Rates of the machine, and the rows of each contestant by case; both are told as they are found."""
    tell = tell or _tell
    work = preset.work()
    rows: dict[tuple[str, Case], Row] = {}
    with TemporaryDirectory(prefix="pursuit-benchmark-") as name:
        directory = Path(name)
        rates = _run({"task": "rates"}, settings, directory, cases=1)[0]
        if rates.get("status"):
            raise UserError(f"measuring the machine failed: {rates['reason']}")
        if tell_rates is not None:
            tell_rates(rates)
        available = [name for name in work if _installed(name)]
        references: set[tuple[str, Case]] = set()
        for number in range(preset.rounds):
            for name in available if number % 2 == 0 else reversed(available):
                cases = [case for case in work[name] if _wants_more(rows.get((name, case)))]
                _make_references(CONTESTANTS[name].operation, cases, references, settings, directory)
                job = {"task": "measure", "contestant": name, "seconds": preset.seconds}
                for case, found in zip(cases, _measure(job, cases, settings, directory), strict=True):
                    rows[name, case] = merged(rows.get((name, case)), found)
                    tell(number, name, case, found)
    missing = {"status": "not installed", "reason": "see benchmarks/requirements.lock"}
    listed = [
        {"contestant": name, "case": asdict(case), **rows.get((name, case), missing)}
        for name, cases in work.items()
        for case in cases
    ]
    return {"rates": rates, "rows": listed}


def merged(before: Row | None, found: Row) -> Row:
    """A case's row with another round's times; a round that fails fails the row."""
    if before is None or found["status"] != "ok":
        return found
    times = {key: before[key] + found[key] for key in ("forward_s", "step_s")}
    return found | times | {"extra_bytes": before["extra_bytes"]}  # memory is the first round's


def _wants_more(row: Row | None) -> bool:
    return row is None or (row["status"] == "ok" and sum(row["step_s"]) < ENOUGH_S)


def _installed(name: str) -> bool:
    module = CONTESTANTS[name].module
    return module is None or importlib.util.find_spec(module) is not None


def _make_references(
    operation: str, cases: Sequence[Case], made: set[tuple[str, Case]], settings: Settings, directory: Path
) -> None:
    """Those of an operation that nobody has needed yet."""
    missing = [case for case in cases if (operation, case) not in made]
    if not missing:
        return
    _say(f"float64 reference of {operation} at {len(missing)} shapes")
    job = {"task": "reference", "operation": operation, "cases": [asdict(case) for case in missing]}
    for case, found in zip(missing, _run(job, settings, directory, cases=len(missing)), strict=True):
        if found.get("status"):
            raise UserError(f"the reference of {operation} failed: {found['reason']}")
        made.add((operation, case))


def _measure(job: dict[str, Any], cases: Sequence[Case], settings: Settings, directory: Path) -> list[Row]:
    """A finding per case. A process that dies takes one case with it; the rest are run by another."""
    job = job | {"operation": CONTESTANTS[job["contestant"]].operation}
    found: list[Row] = []
    while len(found) < len(cases):
        left = cases[len(found) :]
        found += _run(job | {"cases": [asdict(case) for case in left]}, settings, directory, cases=len(left))
    return found


def _run(job: dict[str, Any], settings: Settings, directory: Path, cases: int) -> list[Row]:
    """Results of a worker: one per case, or fewer, of which the last says how the process ended."""
    path = directory / "job.json"
    shared = {"activations": str(settings.activations), "device": settings.device, "threads": settings.threads}
    path.write_text(json.dumps(job | shared | {"references": str(directory)}), encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": str(settings.threads), "WANDB_MODE": "disabled"}
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.worker", str(path)],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=settings.limit_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        results = _results(error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or "")
        reason = f"took more than {settings.limit_s:.0f} s"
    else:
        results = _results(ended.stdout)
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        reason = f"killed by signal {-ended.returncode}" if ended.returncode < 0 else last
    return results if len(results) == cases else [*results, {"status": "could not run", "reason": reason}]


def _results(printed: str) -> list[Row]:
    return [json.loads(line.removeprefix(MARK)) for line in printed.splitlines() if line.startswith(MARK)]


def _tell(number: int, name: str, case: Case, found: Row) -> None:
    shape = f"M={case.latents} k={case.k} B={case.tokens}"
    times = found.get("step_s")
    _say(f"round {number + 1}: {name}, {shape}: " + (f"{min(times):.3f} s" if times else found["reason"]))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
