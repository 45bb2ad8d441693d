"""One command that tells what is right, how fast it is and what comes out at the study's size, on a machine with a GPU.

    python -m benchmarks.gpu.check --pack FILE.safetensors --out FOLDER --budget 840

Every finding is in FOLDER/findings.jsonl the moment it is known, and FOLDER/summary.md shows them. Each stage is a
process with a limit, so that one that hangs costs itself alone. `--dry` runs everything at toy size, anywhere, however
long it takes within the budget.
"""

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.gpu import findings
from benchmarks.gpu.sizes import sizes
from benchmarks.machine import describe_machine

ROOT = Path(__file__).resolve().parents[2]
GPU_TESTS = (
    "tests/kernels/test_gpu_rows.py", "tests/kernels/test_gpu_operations.py", "tests/models/test_gpu_step.py",
    "tests/orchestrator/test_gpu_stream.py", "tests/kernels/test_gpu_topk.py",
    "tests/kernels/test_gpu_pursuit.py",
)  # fmt: skip
"""The slowest last."""
MAX_BYTES = 16 << 20
"""Of a file that comes back."""


@dataclass(frozen=True)
class Work:
    """A stage's process and how long it may take."""

    name: str
    limit_s: float
    command: list[str]


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    pack: Path | None
    out: Path
    budget: float
    dry: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages within the budget; the exit status says whether all of them ended well."""
    options = _read(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + options.budget
    _say_where(options)
    failed = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as place:
        work = Path(place)
        pack = _packed(options, work)
        for together in _stages(options, work, pack):
            with ThreadPoolExecutor(len(together)) as threads:
                well = list(threads.map(lambda stage: _run(stage, options, work, deadline), together))
            failed += [stage.name for stage, ended_well in zip(together, well, strict=True) if not ended_well]
            findings.write_page(options.out)
    print(options.out / findings.PAGE)
    return int(bool(failed))


def _read(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out = os.environ.get("OUT")
    parser.add_argument("--pack", type=Path, help="what benchmarks.gpu.pack wrote; made here unless given")
    parser.add_argument("--out", type=Path, default=out, required=out is None, help="folder for findings ($OUT)")
    parser.add_argument("--budget", type=float, default=840.0, help="seconds in all (840)")
    parser.add_argument("--dry", action="store_true", help="every stage at toy size, on a CPU too")
    given = parser.parse_args(arguments)
    if not given.budget > 0:
        parser.error(f"argument --budget: {given.budget:g} is not a positive number of seconds")
    if given.pack is not None and not given.pack.is_file():
        parser.error(f"argument --pack: {given.pack} is no file; python -m benchmarks.gpu.pack FILE writes one")
    if (Path(given.out) / findings.LINES).exists():
        parser.error(f"argument --out: {given.out} holds findings already; name another folder")
    if not (given.dry or torch.cuda.is_available()):
        parser.error("torch finds no GPU here; --dry runs every stage at toy size without one")
    return Options(given.pack and given.pack.resolve(), Path(given.out).resolve(), given.budget, given.dry)


def _say_where(options: Options) -> None:
    about = describe_machine("cuda" if torch.cuda.is_available() else "cpu", os.cpu_count() or 1)
    about |= {"command": shlex.join(["python", "-m", "benchmarks.gpu.check", *sys.argv[1:]])}
    findings.note(options.out, "machine", **about, dry=options.dry, budget_s=options.budget)


def _packed(options: Options, work: Path) -> Path:
    if options.pack is not None:
        return options.pack
    from benchmarks.gpu.pack import pack  # needs what a sweep does, gguf among it

    wanted = sizes(options.dry)
    pack(work / "pack.safetensors", wanted.train_tokens, wanted.val_tokens)
    return work / "pack.safetensors"


def _stages(options: Options, work: Path, pack: Path) -> list[list[Work]]:
    """One after the other; those of a list side by side, of which none is timed."""
    shared = ["--out", str(options.out), "--work", str(work), "--pack", str(pack), *(["--dry"] * options.dry)]

    def module(name: str) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.gpu.{name}", *shared]

    tests = GPU_TESTS[:1] if options.dry else GPU_TESTS
    workers = "2" if options.dry else "8"
    sanitizer = _sanitizer()
    watched = [sanitizer, "--tool", "memcheck", "--error-exitcode", "9"] if sanitizer else []
    small_cases = [sys.executable, "-m", "benchmarks.gpu.small_cases"]
    stages = [
        [
            Work("tests", 150, [sys.executable, "-m", "pytest", "-m", "gpu", "-n", workers, *tests]),
            Work("sanitizer" if sanitizer else "small cases", 90, [*watched, *small_cases]),
            Work("prepare", 90, module("prepare")),
        ],
        [Work("right", 90, module("right"))],
        [Work("speed", 240, module("speed"))],
        [Work("loop", 150, module("loop"))],
        [Work("study", 3600, module("study"))],
    ]
    if options.dry:
        return [[replace(stage, limit_s=options.budget) for stage in together] for together in stages]
    return stages


def _sanitizer() -> str | None:
    """Where compute-sanitizer is; a CUDA toolkit brings it, torch does not."""
    return shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")


def _run(stage: Work, options: Options, work: Path, deadline: float) -> bool:
    """One stage; whether it ended well. The study ends when the budget does, which is well."""
    limit = min(stage.limit_s, deadline - time.monotonic())
    if limit <= 0:
        findings.note(options.out, "stages", name=stage.name, ended="no time was left", seconds=0.0)
        return True
    started = time.monotonic()
    log = work / f"{stage.name}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            stage.command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
        status: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(limit)
        finally:
            _end(process)
    seconds = time.monotonic() - started
    ended = {None: f"stopped after {limit:.0f} s", 0: "well"}.get(status, f"with status {status}")
    findings.note(options.out, "stages", name=stage.name, ended=ended, seconds=seconds)
    said = log.read_bytes()
    _keep(options.out / "output.log", said)
    last = said.decode(errors="replace").splitlines()[-6:]
    if status != 0 or stage.name in ("tests", "sanitizer"):
        findings.note(options.out, "last words", name=stage.name, said=" / ".join(last)[-1500:])
    return status == 0 or (status is None and stage.name == "study")


_keeping = threading.Lock()


def _keep(path: Path, said: bytes) -> None:
    """What a stage printed, after what those before it did; the end of it all."""
    with _keeping:
        path.write_bytes(((path.read_bytes() if path.exists() else b"") + said)[-MAX_BYTES:])


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The whole group: a stage starts processes of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
