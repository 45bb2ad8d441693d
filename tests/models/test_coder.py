"""Sparse coders: layouts, dtypes and shapes of what they are given, their configuration, and their evaluation."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import VARIANTS, SparseCoder, SparseCoderConfig
from models.evaluation import Evaluation, FvuSum
from tests.support.coders import (
    make_coder,
    make_target,
    make_tokens,
    plain_decode,
    plain_forward,
    plain_fvu,
    plain_weights,
)

# ---- what is given to a coder


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_first_latents_alone_can_be_decoded(variant):
    coder, x = make_coder(variant=variant, k=6), make_tokens(8)
    encoded = coder.encode(x)
    acts, indices = encoded.latent_acts[:, :2], encoded.latent_indices[:, :2]
    expected = plain_decode(coder, dict(coder.named_parameters()), acts, indices, x)
    torch.testing.assert_close(coder.decode(acts, indices, x), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_target_is_the_input_unless_given(variant):
    coder, x, y = make_coder(variant=variant), make_tokens(20), make_tokens(20, seed=9)
    same, given, other = coder(x), coder(x, x), coder(x, y)
    assert torch.equal(given.sae_out, same.sae_out)
    assert given.fvu == same.fvu
    assert torch.equal(other.sae_out, same.sae_out)
    torch.testing.assert_close(other.fvu, plain_fvu(y, same.sae_out))


@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_layout_of_the_input_in_memory_does_not_matter(variant, layout):
    x = {
        "transposed": make_tokens(10, 24).T,
        "strided": make_tokens(48)[::2],
        "expanded": make_tokens(1).expand(24, -1),
    }[layout]
    grads = []
    for each in (x, x.contiguous()):
        coder = make_coder(variant=variant)
        coder(each, make_tokens(24, seed=5)).fvu.backward()
        grads.append([parameter.grad for parameter in coder.parameters()])
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_inputs_of_another_dtype_are_computed_in_that_of_the_weights(variant, dtype):
    coder = make_coder(variant=variant, scale=0.01)
    x, y = (300 * make_tokens(50)).to(dtype), (300 * make_tokens(50, seed=2)).to(dtype)
    out, expected = coder(x, y), coder(x.float(), y.float())
    assert out.sae_out.dtype == out.fvu.dtype == torch.float32
    assert torch.equal(out.sae_out, expected.sae_out)
    assert out.fvu == expected.fvu
    assert coder(x).fvu == coder(x.float()).fvu


# ---- configuration

BAD_CONFIGS = {
    "variant": ({"variant": "relu"}, f"variant 'relu': allowed are {', '.join(VARIANTS)}"),
    "k": ({"k": 0}, "k 0: must be 1 or more"),
    "expansion_factor": ({"expansion_factor": -2}, "expansion_factor -2: must be 1 or more"),
    "num_latents": ({"num_latents": -1}, "num_latents -1: must be 1 or more, or 0 to use expansion_factor"),
    "detach_residual": (
        {"detach_residual": True},
        "detach_residual True: only pursuits without a refit detach, not variant topk",
    ),
    "detach_residual of a refit": (
        {"detach_residual": True, "variant": "ito"},
        "detach_residual True: only pursuits without a refit detach, not variant ito",
    ),
    "residual_threshold": (
        {"residual_threshold": 0.5, "variant": "mp"},
        r"residual_threshold 0\.5: only variant mp-tied has one, not mp",
    ),
    "residual_threshold below 0": (
        {"residual_threshold": -1.0, "variant": "mp-tied"},
        r"residual_threshold -1\.0: must be 0 or a positive number",
    ),
    "residual_threshold nan": (
        {"residual_threshold": float("nan"), "variant": "mp-tied"},
        "residual_threshold nan: must be 0 or a positive number",
    ),
}


@pytest.mark.parametrize("field", BAD_CONFIGS)
def test_bad_config_values_are_named_with_what_is_allowed(field):
    config, message = BAD_CONFIGS[field]
    with pytest.raises(ValueError, match=f"^{message}$"):
        SparseCoderConfig(**config)


@pytest.mark.parametrize("variant", VARIANTS)
def test_more_active_latents_than_there_are_is_an_error(variant):
    cfg = SparseCoderConfig(variant=variant, expansion_factor=2, k=9)
    with pytest.raises(ValueError, match=r"^k 9: must be at most the number of latents, 8$"):
        SparseCoder(4, cfg)
    assert SparseCoder(5, cfg).num_latents == 10


def test_num_latents_goes_before_expansion_factor():
    assert SparseCoderConfig(num_latents=40, expansion_factor=2).latents(8) == 40
    assert SparseCoderConfig(expansion_factor=5).latents(8) == 40


@pytest.mark.parametrize("shape", [(3, 11), (3, 1), (3, 1, 10), (10,)], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_inputs_and_targets_of_another_shape_are_refused(variant, shape):
    coder, fitting = make_coder(variant=variant), torch.zeros(3, 10)
    for call in (coder, coder.encode):
        with pytest.raises(ValueError, match=rf"^x has shape {re.escape(str(list(shape)))}; expected \[rows, 10\]$"):
            call(torch.zeros(shape))
    with pytest.raises(ValueError, match=rf"^y has shape {re.escape(str(list(shape)))}; expected \[3, 10\]$"):
        coder(fitting, torch.zeros(shape))


def test_a_foreign_kernels_package_is_named(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").touch()
    (tmp_path / "models").symlink_to(Path(__file__).parents[2] / "models")
    failed = subprocess.run(
        [sys.executable, "-c", "import models"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    last_line = failed.stderr.splitlines()[-1]
    assert last_line.startswith("ImportError: another package named `kernels` hides this project's")
    assert str(tmp_path / "kernels") in last_line


# ---- evaluation


@pytest.mark.parametrize("cuts", [[50], [1, 9, 40], [0, 25, 0, 25]], ids=["whole", "uneven", "with-empty"])
def test_fvu_sum_equals_fvu_of_everything_together(cuts):
    y, out = make_tokens(50, dtype=torch.float64), make_tokens(50, dtype=torch.float64, seed=4)
    sums = FvuSum()
    for y_part, out_part in zip(y.split(cuts), out.split(cuts), strict=True):
        sums.add(y_part, out_part)
    assert sums.tokens == 50
    assert sums.fvu() == pytest.approx(float(plain_fvu(y, out)), rel=1e-12)


def test_fvu_sum_keeps_its_digits_beside_a_large_mean():
    y, out = make_tokens(50, dtype=torch.float64), make_tokens(50, dtype=torch.float64, seed=4)
    sums = FvuSum()
    for part in (slice(0, 20), slice(20, 50)):
        sums.add(y[part] + 1e6, out[part] + 1e6)
    assert sums.fvu() == pytest.approx(float(plain_fvu(y, out)), rel=1e-8)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 123.456])
def test_fvu_of_inputs_that_do_not_vary_is_not_a_number(value):
    sums, y = FvuSum(), torch.full((37, 5), value)
    for _ in range(2):
        sums.add(y, y + 1)
    assert sums.tokens == 74
    assert sums.fvu() != sums.fvu()


def test_fvu_of_nothing_is_not_a_number():
    sums = FvuSum()
    assert sums.fvu() != sums.fvu()
    sums.add(torch.zeros(0, 5), torch.zeros(0, 5))
    assert sums.fvu() != sums.fvu()


MASSIVE = {
    "none": torch.zeros(60, dtype=torch.bool),
    "some": torch.arange(60) % 7 == 0,
    "whole-batch": torch.arange(60) < 25,
    "all": torch.ones(60, dtype=torch.bool),
}


@pytest.mark.parametrize("massive", MASSIVE)
@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluation_equals_direct_computation(variant, massive):
    coder, x, massive_B = make_coder(variant=variant, scale=0.4), make_tokens(60), MASSIVE[massive]
    x[massive_B] *= 30
    if coder.encoder is not None:
        coder.encoder.bias.data -= 1.5  # some tokens stop before k
    y = make_target(variant, 60)
    evaluation = Evaluation(coder)
    for part in torch.arange(60).split(25):
        evaluation.add(x[part], massive_B[part], None if y is None else y[part])
    with torch.no_grad():
        out, acts, _ = plain_forward(coder, plain_weights(coder), x.double())
    ordinary, y = ~massive_B, x if y is None else y
    assert evaluation.metrics() == pytest.approx(
        {
            "val/fvu": float(plain_fvu(y[ordinary].double(), out[ordinary])),
            "val/fvu_with_massive": float(plain_fvu(y.double(), out)),
            "val/tokens": int(ordinary.sum()),
            "val/massive_tokens": int(massive_B.sum()),
            "l0": int((acts != 0).sum()) / 60,
        },
        rel=1e-5,
        nan_ok=True,
    )


def test_evaluation_of_nothing_has_no_figures():
    evaluation = Evaluation(make_coder())
    empty = {"val/tokens": 0, "val/massive_tokens": 0}
    nothing = dict.fromkeys(["val/fvu", "val/fvu_with_massive", "l0"], float("nan")) | empty
    assert evaluation.metrics() == pytest.approx(nothing, nan_ok=True)
    evaluation.add(torch.zeros(0, 10), torch.zeros(0, dtype=torch.bool))
    assert evaluation.metrics() == pytest.approx(nothing, nan_ok=True)


def test_evaluation_leaves_no_graph():
    coder = make_coder(variant="mp")
    evaluation = Evaluation(coder)
    evaluation.add(make_tokens(8), torch.zeros(8, dtype=torch.bool))
    assert not evaluation.with_massive.total_D.requires_grad
    assert all(parameter.grad is None for parameter in coder.parameters())
