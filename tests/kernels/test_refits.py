"""Pursuits that refit their coefficients, against their plain float64 references: values, gradients, errors."""

import pytest
import torch

from kernels import (
    gradient_pursuit,
    gradient_pursuit_step,
    orthogonal_pursuit,
    sparse_decode,
)
from kernels.rules import Rules
from kernels.scores import Chooser


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_scores_come_from_rows_of_the_gram_matrix_where_those_are_cheaper(dtype):
    W = torch.zeros(4096, 768, dtype=dtype)
    few, many = (Chooser(W[:9], W, None, W, Rules(k=k)).gram is not None for k in (4, 4096))
    assert few and not many
    assert Chooser(W[:9], W, None, W, Rules(k=4, sliced=True)).gram is None


# --- arguments ---


BAD_CALLS = {
    "r0": lambda x, W, b: gradient_pursuit(x[0], W, b, W, 2),
    "r0 is torch.float16": lambda x, W, b: orthogonal_pursuit(x.half(), W, 2),
    "W_enc": lambda x, W, b: gradient_pursuit(x, W[:, :2], b, W, 2),
    "W_dec": lambda x, W, b: gradient_pursuit(x, W, b, W[:3], 2),
    "W_dec has shape": lambda x, W, b: gradient_pursuit(x, W, b, W.expand(2, 10, 4), 2),
    "W_dec is torch.float64": lambda x, W, b: gradient_pursuit(x, W, b, W.double(), 2),
    "b_enc": lambda x, W, b: gradient_pursuit(x, W, b[:1], W, 2),
    "b_enc is torch.float64": lambda x, W, b: gradient_pursuit(x, W, b.double(), W, 2),
    "k is 0": lambda x, W, b: gradient_pursuit(x, W, b, W, 0),
    "k is 11": lambda x, W, b: orthogonal_pursuit(x, W, 11),
    "k is -1": lambda x, W, b: orthogonal_pursuit(x, W, -1),
    "dictionary": lambda x, W, b: orthogonal_pursuit(x, W[:, :2], 2),
    "dictionary has": lambda x, W, b: orthogonal_pursuit(x, W[0], 2),
    "dictionary is torch.float64": lambda x, W, b: orthogonal_pursuit(x, W.double(), 2),
    "x has": lambda x, W, b: gradient_pursuit_step(x[:, :3], x, b[:8].long().view(2, 4), W),
    "x is": lambda x, W, b: gradient_pursuit_step(x.double(), x, b[:8].long().view(2, 4), W),
    "acts": lambda x, W, b: gradient_pursuit_step(x, x.double(), b[:8].long().view(2, 4), W),
    "acts has": lambda x, W, b: gradient_pursuit_step(x, x[:1], b[:4].long().view(1, 4), W),
    "indices": lambda x, W, b: gradient_pursuit_step(x, x, b[:2].long().view(2, 1), W),
    "dictionary h": lambda x, W, b: gradient_pursuit_step(x, x, b[:8].long().view(2, 4), W[0]),
    "decoder": lambda x, W, b: gradient_pursuit_step(x, x, b[:8].long().view(2, 4), W, W[:, :2]),
    "decoder has": lambda x, W, b: gradient_pursuit_step(x, x, b[:8].long().view(2, 4), W, W[:3]),
    "decoder is": lambda x, W, b: gradient_pursuit_step(x, x, b[:8].long().view(2, 4), W, W.double()),
}


@pytest.mark.parametrize("argument", BAD_CALLS)
def test_bad_arguments_are_named(argument):
    with pytest.raises(ValueError, match=rf"^{argument}[^\n]*$"):
        BAD_CALLS[argument](torch.randn(2, 4), torch.randn(10, 4), torch.zeros(10))


@pytest.mark.parametrize("pursuit", [gradient_pursuit, orthogonal_pursuit], ids=["gradient", "orthogonal"])
def test_no_tokens_are_no_trouble(pursuit, scores):
    W = torch.randn(10, 4)
    arguments = (W, None, W, 3) if pursuit is gradient_pursuit else (W, 3)
    acts, indices, residual = pursuit(torch.zeros(0, 4), *arguments)
    assert (acts.shape, indices.shape, residual.shape) == ((0, 3), (0, 3), (0, 4))
    assert sparse_decode(acts, indices, W).shape == (0, 4)
