"""A process of its own for one contestant: reads a job, prints a line of JSON per case.

python -m benchmarks.worker JOB.json
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.activations import load_activations
from benchmarks.contestants import OURS, STRAIGHTFORWARD
from benchmarks.measure import Reference, measure, reference
from benchmarks.memory import limit_to_free_memory
from benchmarks.peers import PEERS
from benchmarks.problem import Case, make_problem
from benchmarks.rates import measure_rates

CONTESTANTS = {contestant.name: contestant for contestant in (*OURS, *STRAIGHTFORWARD, *PEERS)}
MARK = "@result "
"""Starts the lines meant for the parent; a library may print others."""
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Cannot allocate memory")


def reference_path(directory: Path, operation: str, case: Case) -> Path:
    """Where a case's reference lies during a run."""
    return directory / f"{operation}-{case.tokens}-{case.latents}-{case.k}.safetensors"


def main() -> None:
    """Run the job named on the command line."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    device = torch.device(job["device"])
    torch.set_num_threads(job["threads"])
    if job["task"] == "rates":
        return _say(measure_rates(device))
    activations_ND = load_activations(Path(job["activations"]))
    for shape in job["cases"]:
        case = Case(**shape)
        problem = make_problem(activations_ND, case, device)
        path = reference_path(Path(job["references"]), job["operation"], case)
        if job["task"] == "reference":
            found = reference(job["operation"], problem)
            tensors = {"indices": found.indices_BK, "active": found.active_BK, "fvu": torch.tensor(found.fvu).double()}
            save_file({name: tensor.cpu() for name, tensor in tensors.items()}, path)
            _say({"fvu": found.fvu})
            continue
        stored = load_file(path, device=str(device))
        expected = Reference(float(stored["fvu"]), stored["indices"], stored["active"])
        _say(_outcome(job, problem, expected, device))


def _outcome(job: dict[str, Any], problem: Any, expected: Reference, device: torch.device) -> dict[str, Any]:
    contestant = CONTESTANTS[job["contestant"]]
    free = limit_to_free_memory(device)
    try:
        found = measure(contestant, problem, expected, job["seconds"])
    except (RuntimeError, MemoryError) as error:
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, MemoryError) or any(text in str(error) for text in OUT_OF_MEMORY):
            reason = "out of memory" + (f", {free / 2**30:.1f} GiB of which were free" if free else "")
        return {"status": "could not run", "reason": reason}
    if not found.correct:
        reason = f"FVU {found.fvu:.6f}, reference {found.reference_fvu:.6f}"
        return {"status": "failed its check", "reason": reason, **found.as_json()}
    return {"status": "ok", **found.as_json()}


def _say(result: object) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(result)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
