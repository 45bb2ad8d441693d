"""FVU summed over batches."""

import pytest
import torch
from torch import Tensor

from models import VARIANTS
from models.evaluation import Evaluation, FvuSum
from tests.support.coders import make_coder, make_target, make_tokens
from tests.support.definitions import plain_forward, plain_fvu, plain_weights


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


def mean_share(y: Tensor) -> float:
    return float(y.mean(dim=0).pow(2).sum() / (y - y.mean(dim=0)).pow(2).sum(dim=1).mean())


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
            "val/mean_share": mean_share(y[ordinary].double()),
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
    nothing = dict.fromkeys(["val/fvu", "val/fvu_with_massive", "val/mean_share", "l0"], float("nan")) | empty
    assert evaluation.metrics() == pytest.approx(nothing, nan_ok=True)
    evaluation.add(torch.zeros(0, 10), torch.zeros(0, dtype=torch.bool))
    assert evaluation.metrics() == pytest.approx(nothing, nan_ok=True)


def test_evaluation_leaves_no_graph():
    coder = make_coder(variant="mp")
    evaluation = Evaluation(coder)
    evaluation.add(make_tokens(8), torch.zeros(8, dtype=torch.bool))
    assert not evaluation.with_massive.total_D.requires_grad
    assert all(parameter.grad is None for parameter in coder.parameters())
