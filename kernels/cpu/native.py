"""The compiled part of the CPU path: csrc, built with the machine's C compiler on first use and kept in the cache.

Where there is no compiler `library()` is None, and the torch implementations serve.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from torch import Tensor

log = logging.getLogger(__name__)

SOURCES = Path(__file__).with_name("csrc")
# Sums may be reordered and numbers taken for finite, so that loops vectorise; csrc tells NaN and infinity by bits.
# Not -ffast-math, which would flush subnormals in the whole process.
FLAGS = [
    "-O3",
    "-shared",
    "-fPIC",
    "-fno-math-errno",
    "-fno-signed-zeros",
    "-fno-trapping-math",
    "-fassociative-math",
    "-ffinite-math-only",
]
MACHINE_FLAGS = [["-march=native", "-fopenmp"], ["-fopenmp"], []]
"""From fastest to most portable; the first that the compiler accepts is used."""
COMPILE_TIMEOUT_S = 120


class Problem(ctypes.Structure):
    """Arguments of `pursue_round`, `pursue_all` and `topk_round`; csrc says what each is."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("scores", "W_enc", "b_enc", "reach", "spread", "W_dec", "gram")),
        *((name, ctypes.c_void_p) for name in ("latent_grain", "token_grain", "tokens", "excluded")),
        *((name, ctypes.c_void_p) for name in ("residual", "acts", "indices", "steps")),
        *((name, ctypes.c_int64) for name in ("T", "M", "D", "K")),
        *((name, ctypes.c_int64) for name in ("kind", "repeats", "exact_bounds", "decoder_stride", "shortlist_blocks")),
        *((name, ctypes.c_float) for name in ("threshold", "rounding", "sigmas")),
        *(
            (name, ctypes.c_float)
            for name in ("least_reach", "largest_reach", "largest_grain", "largest_grain_share", "largest_bias")
        ),
    ]


class Sweep(ctypes.Structure):
    """Arguments of `sweep_tokens` and `sweep_columns`; csrc says what each is."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("acts", "indices", "residual", "W_enc", "W_dec")),
        *((name, ctypes.c_void_p) for name in ("grad_acts", "grad_last", "grad_scores", "grad_first")),
        *((name, ctypes.c_void_p) for name in ("grad_W_enc", "grad_W_dec")),
        *((name, ctypes.c_int64) for name in ("B", "D", "K", "decoder_stride", "detach")),
    ]


def pointer(tensor: Tensor | None) -> int | None:
    """Address of a contiguous tensor's first element; None is C's NULL."""
    if tensor is None:
        return None
    if not tensor.is_contiguous():
        raise ValueError(f"a tensor of shape {list(tensor.shape)} is not contiguous")
    return tensor.data_ptr()


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled extension, or None where it cannot be built; says so once in the log."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    if compiler is None:
        log.warning("no C compiler found (CC, cc, gcc, clang): matching pursuit on CPU runs its slower torch path")
        return None
    try:
        built = ctypes.CDLL(str(_built(compiler)))
    except OSError as error:
        log.warning("compiling failed, so matching pursuit on CPU runs its slower torch path: %s", error)
        return None
    address, number = ctypes.c_void_p, ctypes.c_int64
    for name in ("pursue_round", "pursue_all", "topk_round", "sweep_tokens", "sweep_columns"):
        getattr(built, name).argtypes = [address]
    for name in ("add_outer", "row_products"):
        getattr(built, name).argtypes = [*[address] * 4, *[number] * 3]
    return built


def call(function: str, *arguments: object) -> None:
    """Call a function of the extension. Raises MemoryError where it found no memory for its scratch space."""
    if not getattr(library(), function)(*arguments):
        raise MemoryError(f"{function}: no memory for scratch space")


def _built(compiler: str) -> Path:
    """The shared library for this source, compiler and processor. Raises OSError where it cannot be made."""
    key = hashlib.sha256(repr((FLAGS, MACHINE_FLAGS, compiler, _processor())).encode())
    for source in sorted(SOURCES.iterdir()):
        key.update(source.read_bytes())
    name = f"native-{key.hexdigest()[:16]}.so"
    return _compile(compiler, _cache_directory(), name)


def _cache_directory() -> Path:
    """The user's cache, or a new temporary directory where that cannot be written."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pursuit-lab"
        cache.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return Path(tempfile.mkdtemp(prefix="pursuit-lab-"))
    return cache if os.access(cache, os.W_OK) else Path(tempfile.mkdtemp(prefix="pursuit-lab-"))


def _compile(compiler: str, directory: Path, name: str) -> Path:
    target = directory / name
    if target.exists():
        return target
    complaints = []
    sources = sorted(map(str, SOURCES.glob("*.c")))
    with tempfile.TemporaryDirectory(dir=directory) as building:
        output = Path(building) / name
        for machine_flags in MACHINE_FLAGS:
            command = [compiler, *FLAGS, *machine_flags, *sources, "-o", str(output), "-lm"]
            try:
                result = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False)
            except subprocess.TimeoutExpired as error:
                raise OSError(str(error)) from error
            if result.returncode == 0:
                output.replace(target)  # renamed into place, so that processes that start together can share it
                return target
            complaints.append(result.stderr.strip().splitlines()[-1:])
    raise OSError(f"{compiler}: {complaints}")


def _processor() -> str:
    """What `-march=native` depends on, for caches shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return "".join([line for line in lines if line.startswith(("model name", "flags", "Features"))][:2])
    except OSError:
        return platform.platform() + platform.processor()
