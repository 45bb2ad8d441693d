"""Memory a step needs beyond what is there before it."""

import ctypes
import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_MEMINFO = Path("/proc/meminfo")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class PeakMemory:
    """Highest memory use since it was made, less the use at that time: of the process, or of the GPU's allocator."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            self._before: int | None = torch.cuda.memory_allocated(device)
            return
        self._before = None
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # what is freed but kept would hide what the step needs
            try:
                _CLEAR_REFS.write_text("5", encoding="utf-8")  # sets VmHWM to VmRSS
            except OSError:  # some containers forbid it; the peak is then unknown
                return
            self._before = _status_bytes("VmRSS")

    def extra_bytes(self) -> int | None:
        """None where the machine does not tell."""
        if self._before is None:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return max(0, _status_bytes("VmHWM") - self._before)


def _status_bytes(field: str, path: Path = _STATUS) -> int:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"{path} has no {field}")


def limit_to_free_memory(device: torch.device) -> int | None:
    """Bytes free now; on Linux, an allocation beyond them raises, lest the kernel end some other process."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if sys.platform != "linux":
        return None
    free = _status_bytes("MemAvailable", _MEMINFO) * 95 // 100
    held = _status_bytes("VmData")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    free = free if hard < 0 else min(free, hard - held)
    resource.setrlimit(resource.RLIMIT_DATA, (held + free, hard))
    return free


def total_bytes() -> int:
    """The machine's memory; 0 where it is not known."""
    return _status_bytes("MemTotal", _MEMINFO) if sys.platform == "linux" else 0
