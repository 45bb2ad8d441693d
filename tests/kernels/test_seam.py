"""What every operation does beside computing: refusing, logging, and living with torch and without a compiler."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kernels import (
    decoder_gram,
    gradient_pursuit_step,
    matching_pursuit,
    sparse_decode,
    sparse_scores,
    topk_encode,
)
from kernels.cpu import native
from tests.support.pursuits import leaves
from tests.support.waiting import LIMIT_SECONDS


def test_the_form_is_logged_once_per_shape(caplog):
    x, W = torch.randn(3, 5), torch.randn(23, 5)
    with caplog.at_level(logging.INFO, logger="kernels.forms"):
        for _ in range(2):
            matching_pursuit(x, W, None, W, 2)
    assert len([r for r in caplog.records if "M=23" in r.getMessage()]) == 1


BAD_CALLS = {
    "W_enc": lambda x, W, b: matching_pursuit(x, W[:, :2], b, W, 2),
    "W_dec": lambda x, W, b: matching_pursuit(x, W, b, W[:3], 2),
    "b_enc": lambda x, W, b: matching_pursuit(x, W, b[:1], W, 2),
    "k": lambda x, W, b: matching_pursuit(x, W, b, W, 99),
    "form": lambda x, W, b: matching_pursuit(x, W, b, W, 2, form="fast"),
    "form is 'update'": lambda x, W, b: matching_pursuit(x, W, b, W, 2, form="update", sliced=True),
    "form is 'screen'": lambda x, W, b: matching_pursuit(x.double(), W.double(), None, W.double(), 2, form="screen"),
    "gram is given": lambda x, W, b: matching_pursuit(x, W, b, W, 2, gram=torch.zeros(10, 10), sliced=True),
    "operands is torch.float16": lambda x, W, b: topk_encode(x, W, b, 2, operands=torch.float16),
    "operands": lambda x, W, b: matching_pursuit(x, W, b, W, 2, operands=torch.int8),
    "residual_threshold": lambda x, W, b: matching_pursuit(x, W, b, W, 2, residual_threshold=-1.0),
    "gram is": lambda x, W, b: matching_pursuit(x, W, b, W, 2, gram=torch.zeros(10, 10, dtype=torch.float64)),
    "W_dec has shape": lambda x, W, b: matching_pursuit(x, W, b, W.expand(3, 10, 4), 2),
    "b_enc is": lambda x, W, b: matching_pursuit(x, W, b.double(), W, 2),
    "gram": lambda x, W, b: matching_pursuit(x, W, b, W, 2, gram=W),
    "r0": lambda x, W, b: matching_pursuit(x.half(), W, b, W, 2),
    "x": lambda x, W, b: topk_encode(x[0], W, b, 2),
    "indices": lambda x, W, b: sparse_decode(x, torch.zeros(2, 1, dtype=torch.int64), W),
    "acts": lambda x, W, b: sparse_decode(x.double(), torch.zeros(2, 4, dtype=torch.int64), W),
}


@pytest.mark.parametrize("argument", BAD_CALLS)
def test_bad_arguments_are_named(argument):
    with pytest.raises(ValueError, match=rf"^{argument}[ ;,]"):
        BAD_CALLS[argument](torch.randn(2, 4), torch.randn(10, 4), torch.zeros(10))


@pytest.mark.parametrize("index", [-1, 7])
@pytest.mark.parametrize("operation", [sparse_decode, sparse_scores], ids=["decode", "scores"])
def test_indices_of_no_latent_are_refused(operation, index):
    first = torch.randn(2, 1 if operation is sparse_decode else 4)
    with pytest.raises((ValueError, RuntimeError), match=r"indic|index|idx"):
        operation(first, torch.full((2, 1), index), torch.randn(7, 4))


def test_a_given_gram_changes_nothing():
    x, W, b = torch.randn(9, 4), torch.randn(10, 4), torch.zeros(10)
    given_gram = matching_pursuit(x, W, b, W, 3, gram=decoder_gram(W, W))
    own_gram = matching_pursuit(x, W, b, W, 3, form="update")
    assert all(torch.equal(given, own) for given, own in zip(given_gram, own_gram, strict=True))


def losses(x: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor) -> Tensor:
    acts, indices = topk_encode(x, W_enc, b_enc, 3)
    topk_error = (x - sparse_decode(acts, indices, W_dec)).pow(2).sum()
    _, _, residual = matching_pursuit(x, W_enc, b_enc, W_dec, 3)
    moved = gradient_pursuit_step(x, acts, indices, W_dec)
    return topk_error + residual.pow(2).sum() + moved.sum()


@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_torch_compile_sees_whole_operations(compiler):
    arguments = [torch.randn(*shape) for shape in ((9, 8), (40, 8), (40,), (40, 8))]
    eager, compiled = leaves(*arguments, dtype=torch.float32), leaves(*arguments, dtype=torch.float32)
    losses(*eager).backward()
    torch.compile(losses, fullgraph=True, backend=compiler)(*compiled).backward()
    for mine, theirs in zip(compiled, eager, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_registered_operators_are_what_torch_expects_of_them():
    x, W, b = leaves(torch.randn(6, 8), torch.randn(40, 8), torch.randn(40), dtype=torch.float32)
    indices = torch.randint(0, 40, (6, 3))
    pursuit = (x, W, b, leaves(W, dtype=torch.float32)[0], None, 3, False, False, 0.0, "auto", None, False, False, None)
    tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
    torch.library.opcheck(torch.ops.pursuit.matching_pursuit, pursuit, test_utils=tests)
    torch.library.opcheck(torch.ops.pursuit.topk_encode, (x, W, b, 3, None), test_utils=tests)
    torch.library.opcheck(
        torch.ops.pursuit.sparse_decode,
        (leaves(torch.randn(6, 3), dtype=torch.float32)[0], indices, W),
        test_utils=tests,
    )
    torch.library.opcheck(torch.ops.pursuit.sparse_scores, (x, indices, W), test_utils=tests)


def test_autocast_changes_nothing():
    arguments = [torch.randn(*shape) for shape in ((9, 32), (700, 32), (700,), (700, 32))]
    plain, cast = leaves(*arguments, dtype=torch.float32), leaves(*arguments, dtype=torch.float32)
    losses(*plain).backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses(*cast).backward()
    for mine, theirs in zip(cast, plain, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_inputs_that_autocast_rounded_are_taken():
    x, W = torch.randn(9, 32), torch.randn(70, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = x @ torch.eye(32)
        acts, _, _ = matching_pursuit(rounded, W, None, W, 3)
    assert rounded.dtype == torch.bfloat16
    assert acts.dtype == torch.float32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("argument", ["r0", "W_enc", "b_enc", "W_dec"])
def test_anomaly_detection_refuses_what_is_not_finite(argument, value):
    arguments = {"r0": torch.randn(4, 8), "W_enc": torch.randn(9, 8), "b_enc": torch.zeros(9), "W_dec": torch.eye(9, 8)}
    arguments[argument].view(-1)[3] = value
    with torch.autograd.set_detect_anomaly(True), pytest.raises(ValueError, match=f"^{argument} holds NaN or inf"):
        matching_pursuit(**arguments, k=2)


@pytest.mark.parametrize("form", ["update", "screen", "recompute"])
@pytest.mark.parametrize("where", ["token", "weight"])
def test_nan_comes_out_where_it_went_in(form, where):
    x, W = torch.randn(4, 8), torch.nn.functional.normalize(torch.randn(90, 8), dim=1)
    (x[1] if where == "token" else W[5])[2] = float("nan")
    acts, indices, residual = matching_pursuit(x, W, None, W, 3, form=form)
    assert torch.isnan(acts[1]).any()
    assert torch.isnan(residual[1]).any()
    assert torch.isfinite(acts[0]).all() == torch.isfinite(residual[0]).all() == (where == "token")
    assert indices.min() >= 0
    assert indices.max() < 90


def test_threads_change_no_bit():
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(*shape, generator=generator) for shape in ((200, 50), (700, 50), (700,), (700, 50))]
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            ours = leaves(*tensors, dtype=torch.float32)
            acts, indices, residual = matching_pursuit(*ours, 7, operands=torch.float32)
            (acts.sum() + residual.pow(2).sum()).backward()
            results.append([acts.detach(), indices, residual.detach(), *(leaf.grad for leaf in ours)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, many) for one, many in zip(*results, strict=True))


def test_without_a_compiler_the_torch_path_serves(tmp_path: Path):
    code = """
import logging, torch
logging.basicConfig()
from kernels import matching_pursuit
W = torch.nn.functional.normalize(torch.randn(30, 8), dim=1)
print(matching_pursuit(torch.randn(5, 8), W, None, W, 3)[0].shape)
"""
    environment = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=environment,
        capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True,
    )  # fmt: skip
    assert "torch.Size([5, 3])" in result.stdout
    assert "no C compiler found" in result.stderr


def test_a_cache_directory_that_cannot_be_written_does_not_matter(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert native.library.__wrapped__() is not None
