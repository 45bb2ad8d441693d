"""Stage: selections and FVU of every kernel path against the float64 definition, on real activations."""

import torch
from torch import Tensor

from benchmarks.activations import scaled
from benchmarks.contestants import OURS, Contestant, Output
from benchmarks.gpu.sizes import WIDE
from benchmarks.gpu.stage import HOOKPOINTS, VAL, Stage
from benchmarks.measure import agreement, reference
from benchmarks.problem import Case, make_problem


def main() -> None:
    """Note a finding for each case and path, the study's own first."""
    stage = Stage.from_command_line("right")
    x_ND = real_activations(stage)
    for case in stage.sizes.agreement:
        _compare(stage, x_ND, case)
    narrow = x_ND.shape[1]
    neighbours = -(-WIDE // narrow)  # tokens beside each other make one wide one
    whole = len(x_ND) // neighbours * neighbours
    _compare(stage, x_ND[:whole].reshape(-1, neighbours * narrow)[:, :WIDE], stage.sizes.wide)


def real_activations(stage: Stage) -> Tensor:
    """Held-out tokens of the residual stream [N, D] float32, scaled to variance 1 a coordinate."""
    return scaled(torch.cat([shard.rows(shard.ordinary).x for shard in stage.host_shards(VAL, HOOKPOINTS[0]).shards]))


def _compare(stage: Stage, x_ND: Tensor, case: Case) -> None:
    problem = make_problem(x_ND, case, stage.device)
    by_operation: dict[str, list[Contestant]] = {}
    for contestant in OURS:
        if contestant.name != "ours, update form, H given":
            by_operation.setdefault(contestant.operation, []).append(contestant)
    for contestants in by_operation.values():
        expected = reference(contestants[0].operation, problem)
        for contestant in contestants:
            found = {"what": contestant.name, "d": x_ND.shape[1], "M": case.latents, "k": case.k, "B": case.tokens}
            try:
                out = contestant.build(problem).forward()
                fvu = float(out.error_BD.double().pow(2).sum()) / problem.variance
                agree = 100 * agreement(contestant.operation, _told(out), expected)
                stage.note(**found, agreement_pct=agree, fvu=fvu, relative=fvu / expected.fvu - 1)
            except RuntimeError as error:  # what Triton and CUDA raise; the other paths are still worth a look
                stage.note(**found, failed=str(error).strip().partition("\n")[0])
        torch.cuda.empty_cache()


def _told(out: Output) -> Tensor:
    if out.indices_BK is None:
        raise TypeError("one of ours does not tell what it chose")
    return out.indices_BK


if __name__ == "__main__":
    main()
