"""The table of GPUs."""

import pytest
import torch

from kernels import devices, forms, gpu
from kernels.rules import Rules


@pytest.mark.parametrize(
    ("name", "kind"),
    [("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA H200", "H200"), ("NVIDIA A100-SXM4-80GB", "A100"), ("", "H100")],
)
def test_a_device_is_known_by_its_name(name: str, kind: str) -> None:
    assert devices.sheet_of(name) == devices.SHEETS[kind]


def test_work_is_counted_in_flops_of_a_product() -> None:
    sheet = devices.SHEETS["H200"]
    assert sheet.rates.update / sheet.product == pytest.approx(1.33e-12)
    assert sheet.passes(9) / sheet.product == pytest.approx(9 * 4 / sheet.memory)
    assert gpu.rates(torch.empty(0)) == devices.OTHERS.rates
    assert sheet.rates.gram_itemsize == gpu.gram_dtype(torch.empty(0), None).itemsize


def test_steps_take_what_they_took_on_an_h200() -> None:
    """65,536 tokens, M = 36,864, d = 576, k = 64 (benchmarks/results/h200.md), but for first scores, faster since."""
    sheet = devices.SHEETS["H200"]
    costs = forms.form_costs(sheet.rates, 65536, 36864, 576, Rules(k=64), per_step=False)
    sparse = sheet.passes(devices.SPARSE_PASSES) * 65536 * 64 * 576
    assert (costs["update"] + sparse) / sheet.product == pytest.approx(0.262 - 0.047, rel=0.15)
    assert (costs["recompute"] + sparse) / sheet.product == pytest.approx(0.371, rel=0.15)
    product = 2 * 65536 * 36864 * 576
    assert (product + sparse) / sheet.product == pytest.approx(0.0238, rel=0.15)
