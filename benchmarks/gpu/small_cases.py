"""One small case of every kernel, forward and backward, for compute-sanitizer to watch.

compute-sanitizer --tool memcheck python -m benchmarks.gpu.small_cases
"""

import torch

from benchmarks.contestants import OURS
from benchmarks.problem import Case, make_problem


def main() -> None:
    """Run them on the GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x_ND = torch.randn(70, 72, generator=torch.Generator().manual_seed(0))
    problem = make_problem(x_ND, Case(70, 300, 5), device)
    for contestant in OURS:
        contestant.build(problem).forward().loss.backward()  # type: ignore[no-untyped-call]
        print(f"ran {contestant.name}", flush=True)
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
