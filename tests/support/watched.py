"""What a process needs while it runs: memory and processor time, read from /proc now and then."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    done: int
    seconds: float
    cpu_seconds: float
    """Of all threads."""
    main_cpu_seconds: float
    """Of the first thread alone."""
    rss_mib: float
    own_mib: float
    """Without files and the object store, which others share."""

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 1) for name, value in asdict(self).items()}


def watch(process: subprocess.Popen[bytes], done: Callable[[], int], every: float = 0.5) -> list[Sample]:
    """Samples until the process ends; `done` counts what it has to do."""
    samples, started = [], time.monotonic()
    while process.poll() is None:
        try:
            cpu = [cpu_seconds(f"/proc/{process.pid}{thread}/stat") for thread in ("", f"/task/{process.pid}")]
            _, resident, shared = Path(f"/proc/{process.pid}/statm").read_text(encoding="utf-8").split()[:3]
        except (OSError, ValueError):  # it ended just now
            break
        mib = [int(pages) * PAGE / 2**20 for pages in (resident, int(resident) - int(shared))]
        samples.append(Sample(done(), time.monotonic() - started, *cpu, *mib))
        time.sleep(every)
    process.wait()
    return samples


def cpu_seconds(stat: str) -> float:
    """Processor time, of the program and of the kernel for it, by a file of /proc."""
    fields = Path(stat).read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def at(samples: list[Sample], done: int) -> Sample:
    """The first sample with so many done."""
    return next(sample for sample in samples if sample.done >= done)
