"""The table of GPUs."""

import pytest
import torch

from kernels import devices


@pytest.mark.parametrize(
    ("name", "kind"),
    [("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA H200", "H200"), ("NVIDIA A100-SXM4-80GB", "A100"), ("", "H100")],
)
def test_a_device_is_known_by_its_name(name: str, kind: str) -> None:
    assert devices.sheet_of(name) == devices.SHEETS[kind]


def test_an_update_costs_what_its_bytes_do() -> None:
    flops = devices.update_flops(torch.empty(0))
    if not torch.cuda.is_available():
        assert flops == pytest.approx(354, abs=1)
    assert 100 < flops < 1000
