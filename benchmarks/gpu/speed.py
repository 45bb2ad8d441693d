"""Stage: training steps of ours and of the others, and each of ours as a share of what bounds it.

Bounds count what cannot be avoided: for the update form k rows of H a token, for backward a row of each matrix and of
each gradient for every active latent, for recompute and TopK the products.
"""

import os
from functools import partial
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.gpu.right import real_activations
from benchmarks.gpu.stage import Stage
from benchmarks.presets import PRESETS, Preset
from benchmarks.problem import Case
from benchmarks.rates import best_time
from benchmarks.report import median
from benchmarks.schedule import Row, Settings, run_preset
from models import SparseCoder, SparseCoderConfig
from models.training import TrainConfig, Trainer

LIMIT_S = 60.0
"""Of one contestant's process."""
FIRST = (
    "ours, update form", "ours, TopK", "ours, recompute form", "ours, update form, H given", "the study's method",
    "sae-lens' method",
)  # fmt: skip
"""In the order of interest."""


def main() -> None:
    """Note rates, what the optimiser takes, and a finding for each contestant."""
    stage = Stage.from_command_line("speed")
    path = stage.work / "speed.safetensors"
    x_ND = real_activations(stage)
    save_file({"activations": x_ND.half()}, path)
    case, full = stage.sizes.speed, PRESETS["h100"]
    names = FIRST if stage.dry else (*FIRST, *(name for name in full.contestants if name not in FIRST))
    preset = Preset((case,), names, rounds=1, seconds=stage.sizes.speed_seconds)
    settings = Settings(path.resolve(), stage.device.type, 1 if stage.dry else os.cpu_count() or 1, LIMIT_S)
    rates: dict[str, float] = {}
    run_preset(
        preset, settings, partial(_tell, stage, x_ND.shape[1], rates), partial(_tell_rates, stage, case, x_ND, rates)
    )


def _tell_rates(
    stage: Stage, case: Case, x_ND: torch.Tensor, rates: dict[str, float], measured: dict[str, float]
) -> None:
    rates |= measured
    stage.note(**{f"{name}_per_second": rate for name, rate in rates.items()})
    _optimiser(stage, case, x_ND, rates)


def _tell(stage: Stage, width: int, rates: dict[str, float], number: int, name: str, case: Case, row: Row) -> None:
    shape: dict[str, Any] = {"contestant": name, "B": case.tokens, "M": case.latents, "k": case.k}
    if row["status"] != "ok":
        return stage.note(**shape, status=row["status"], reason=row["reason"])
    stage.note(
        **shape, step_s=median(row["step_s"]), forward_s=median(row["forward_s"]), steps=len(row["step_s"]),
        extra_bytes=row["extra_bytes"], fvu=row["fvu"], reference_fvu=row["reference_fvu"],
    )  # fmt: skip
    _shares(stage, name, row, case, width, rates)


def _shares(stage: Stage, name: str, row: Row, case: Case, width: int, rates: dict[str, float]) -> None:
    """What bounds a contestant of ours, and the share of that bound it reaches."""
    forward, step = median(row["forward_s"]), median(row["step_s"])
    entries = float(case.tokens) * case.k
    product = 2.0 * case.tokens * case.latents * width
    bounds = {
        "ours, update form, H given": ("read", entries * case.latents * row.get("facts", {}).get("gram_itemsize", 2)),
        "ours, recompute form": ("bfloat16", product * case.k),
        "ours, TopK": ("bfloat16", product),
    }
    if name in bounds:
        rate, amount = bounds[name]
        stage.note(part=f"{name}: forward", bound=rate, share_pct=100 * amount / rates[rate] / forward, seconds=forward)
    if name.startswith("ours"):
        rows_bytes = entries * width * 4 * 4  # a row of encoder and decoder is read, one of each gradient written
        share = 100 * rows_bytes / rates["read"] / (step - forward)
        stage.note(part=f"{name}: backward", bound="read", share_pct=share, seconds=step - forward)
    if name == "ours, update form, H given":
        stage.note(
            update_flops=forward / (entries * case.latents) * rates["bfloat16"],
            meaning="flops of a bfloat16 product in the time of one update of a score (kernels/devices.py)",
        )


def _optimiser(stage: Stage, case: Case, x_ND: torch.Tensor, rates: dict[str, float]) -> None:
    """Adam, and what holds rows at length 1, on gradients that are there."""
    width = x_ND.shape[1]
    coder = SparseCoder(width, SparseCoderConfig(variant="mp", num_latents=case.latents, k=case.k), stage.device)
    trainer = Trainer(coder, TrainConfig(steps=10, warmup_steps=1))
    matrix = 4.0 * case.latents * width
    parts = {
        "optimiser: Adam": (trainer.optimiser.step, 2 * 7 * matrix),
        "optimiser: projection": (coder.remove_gradient_parallel_to_decoder_directions, 3 * matrix),
        "optimiser: norms": (coder.set_decoder_norm_to_unit_norm, 2 * matrix),
    }
    for parameter in coder.parameters():
        parameter.grad = torch.ones_like(parameter)
    for part, (work, num_bytes) in parts.items():
        seconds = best_time(work, stage.device)
        stage.note(part=part, bound="read", share_pct=100 * num_bytes / rates["read"] / seconds, seconds=seconds)


if __name__ == "__main__":
    main()
