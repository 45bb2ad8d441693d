"""Triton kernels compiled ahead of time, on a machine that needs no GPU: registers, spills and shared memory of each.

A test module offers `aot_cases() -> list[Case]`; `compile_module("tests.kernels.test_gpu_compile", 90)` compiles those
for sm_90 in a process of its own, where TRITON_INTERPRET is unset whatever the caller has, and returns the resources by
case name.
By hand: `python -m tests.support.aot tests.kernels.test_gpu_compile 90`.
"""

import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CAPABILITIES = (80, 90, 100)
SHARED_LIMIT = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10}
"""Bytes of shared memory that one block can ask for."""


@dataclass(frozen=True)
class Resources:
    """What one program of a compiled kernel takes."""

    registers: int
    """Per thread."""
    spill_bytes: int
    """Stores and loads, per thread."""
    stack_bytes: int
    """Per thread."""
    shared_bytes: int
    """Per block."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One specialisation of one kernel."""

    name: str
    fn: Any
    """A function under `@triton.jit`."""
    signature: Mapping[str, str]
    """Type of each argument that is not constexpr, as "*fp32" or "i32"; "i32:16" for a number known to be a multiple
    of 16, as Triton specialises launches. Pointers are taken as multiples of 16, as torch allocates them."""
    constexprs: Mapping[str, Any]
    num_warps: int
    num_stages: int = 1
    maxnreg: int | None = None
    """The most registers a thread may have, where the launch says so."""
    capabilities: tuple[int, ...] = CAPABILITIES
    """Those to compile for, where the configuration is not the same for all."""


def compile_case(case: Case, capability: int) -> Resources:
    """Compile for sm_`capability`; for a process without TRITON_INTERPRET."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = case.fn.arg_names
    divisible = {name for name, kind in case.signature.items() if kind.startswith("*") or kind.endswith(":16")}
    types = {name: kind.removesuffix(":16") for name, kind in case.signature.items()}
    source = ASTSource(
        case.fn,
        signature={name: "constexpr" if name in case.constexprs else types[name] for name in names},
        constexprs=dict(case.constexprs),
        attrs={(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if name in divisible},
    )
    options = {"num_warps": case.num_warps, "num_stages": case.num_stages, "maxnreg": case.maxnreg}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    registers, stack = _registers_and_stack(compiled.asm["cubin"])
    # Spilled registers lie on the stack, so a kernel without one needs no second run of the assembler.
    spilled = _spill_bytes(compiled.asm["ptx"], capability) if stack else 0
    return Resources(registers, spilled, stack, compiled.metadata.shared)


def _registers_and_stack(cubin: bytes) -> tuple[int, int]:
    usage = _run_tool("cuobjdump", ["-res-usage"], cubin, ".cubin")
    (registers,), (stack,) = re.findall(r"REG:(\d+)", usage), re.findall(r"STACK:(\d+)", usage)
    return int(registers), int(stack)


def _spill_bytes(ptx: str, capability: int) -> int:
    arch = {90: "sm_90a", 100: "sm_100a"}.get(capability, f"sm_{capability}")
    tool = "ptxas-blackwell" if capability >= 100 else "ptxas"
    options = ["-v", "--regAllocOptLevel=2", f"--gpu-name={arch}", "-o", os.devnull]
    log = _run_tool(tool, options, ptx.encode(), ".ptx")
    return sum(int(count) for count in re.findall(r"(\d+) bytes spill (?:stores|loads)", log))


def _run_tool(name: str, options: list[str], data: bytes, suffix: str) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        result = subprocess.run([tool, *options, file.name], capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{name} failed: {result.stderr or result.stdout}")
    return result.stdout + result.stderr


def compile_module(module: str, capability: int) -> dict[str, Resources]:
    """Resources of every case of `module.aot_cases()`, compiled in one other process."""
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-m", "tests.support.aot", module, str(capability)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"compiling {module} for sm_{capability} failed:\n{result.stderr}\n{result.stdout[-2000:]}")
    return {name: Resources(**numbers) for name, numbers in json.loads(result.stdout.splitlines()[-1]).items()}


def complaints(resources: Mapping[str, Resources], capability: int) -> list[str]:
    """One line for each kernel that spills or asks for more shared memory than a block can have."""
    limit = SHARED_LIMIT[capability]
    return [
        f"{name} on sm_{capability}: {r}" for name, r in resources.items() if r.spill_bytes or r.shared_bytes > limit
    ]


def main() -> None:
    module, capability = sys.argv[1], int(sys.argv[2])
    cases = [case for case in importlib.import_module(module).aot_cases() if capability in case.capabilities]
    resources = {case.name: dataclasses.asdict(compile_case(case, capability)) for case in cases}
    sys.stdout.write(json.dumps(resources) + "\n")


if __name__ == "__main__":
    main()
