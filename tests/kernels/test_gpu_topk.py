"""TopK encode in Triton against its float64 reference; on a CPU in Triton's interpreter."""

import pytest
import torch
from torch import Tensor

from kernels import reference
from kernels.gpu import topk
from kernels.gpu.topk import candidates_per_tile, topk_config, topk_select

pytestmark = pytest.mark.gpu
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LOW = [torch.float16, torch.bfloat16]


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def problem(tokens: int, width: int, latents: int, bias: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens + latents)
    x = torch.randn(tokens, width, generator=generator)
    W = torch.randn(latents, width, generator=generator) / width**0.5
    b = bias + 0.1 * torch.randn(latents, generator=generator)
    return x.to(DEVICE), W.to(DEVICE), b.to(DEVICE)


def assert_is_topk(result: tuple[Tensor, Tensor], x: Tensor, W: Tensor, b: Tensor | None, k: int) -> None:
    """Values equal the reference's to float32 rounding; indices are distinct where active and have those values."""
    acts, indices = result
    b = W.new_zeros(W.shape[0]) if b is None else b
    expected, _ = reference.topk_encode(x.double(), W.double(), b.double(), k)
    close = {"rtol": 1e-5, "atol": 1e-5 * max(1e-3, expected.max().item())}
    torch.testing.assert_close(acts.double(), expected, **close)
    scores = torch.relu(x.double() @ W.double().T + b.double())
    assert indices.dtype == torch.int64
    torch.testing.assert_close(scores.gather(1, indices), expected, **close)
    active = acts > 0
    assert all(len(set(row[on].tolist())) == on.sum() for row, on in zip(indices, active, strict=True))


@pytest.fixture
def doubtful(monkeypatch) -> list[int]:
    """How many tokens of each call were to be computed again."""
    seen: list[int] = []
    settle = topk._settle

    def record(*arguments):
        seen.append(int(arguments[-1].sum()))
        return settle(*arguments)

    monkeypatch.setattr(topk, "_settle", record)
    return seen


BY_TILES = [(1, 40, 1031, 4), (3, 1, 1500, 1), (17, 33, 2003, 6), (33, 64, 1024, 2)]
if DEVICE == "cuda":
    BY_TILES += [(4096, 576, 36864, 64), (300, 2048, 65536, 512)]
DENSE = [(1, 1, 1, 1), (3, 5, 7, 7), (2, 65, 131, 131), (4, 8, 257, 40)]


@pytest.mark.parametrize("operands", LOW, ids=dtype_name)
@pytest.mark.parametrize("shape", BY_TILES, ids="B{0[0]}-d{0[1]}-M{0[2]}-k{0[3]}".format)
def test_by_tiles(shape, operands):
    tokens, width, latents, k = shape
    x, W, b = problem(tokens, width, latents)
    assert topk_config(tokens, latents, k, 90) is not None
    assert_is_topk(topk_select(x, W, b, k, operands), x, W, b, k)


@pytest.mark.parametrize("operands", [torch.float16, torch.float32], ids=dtype_name)
@pytest.mark.parametrize("shape", DENSE, ids="B{0[0]}-d{0[1]}-M{0[2]}-k{0[3]}".format)
def test_dense(shape, operands):
    tokens, width, latents, k = shape
    x, W, b = problem(tokens, width, latents)
    assert topk_config(tokens, latents, k, 90) is None
    assert_is_topk(topk_select(x, W, b, k, operands), x, W, b, k)
    assert_is_topk(topk_select(x, W, None, k, operands), x, W, None, k)


def test_without_bias_and_in_chunks_of_few_tokens(monkeypatch):
    x, W, _ = problem(7, 24, 1031)
    whole = topk_select(x, W, None, 4, torch.bfloat16)
    assert_is_topk(whole, x, W, None, 4)
    monkeypatch.setattr(topk, "CHUNK_BYTES", 3 * 4 * 5 * 9)
    for one, other in zip(topk_select(x, W, None, 4, torch.bfloat16), whole, strict=True):
        assert torch.equal(one, other)
    assert_is_topk(topk_select(x, W, None, 4, torch.float32), x, W, None, 4)


def test_only_few_tokens_are_computed_again(doubtful):
    x, W, b = problem(64, 48, 2048)
    assert_is_topk(topk_select(x, W, b, 8, torch.bfloat16), x, W, b, 8)
    assert sum(doubtful) <= 3


@pytest.mark.parametrize("operands", LOW, ids=dtype_name)
def test_winners_that_share_a_tile_are_all_found(operands, doubtful):
    x, W, b = problem(6, 32, 1400)
    b[256:384] += 4
    b[1398:] += 5
    assert candidates_per_tile(16, 1400) < 12
    assert_is_topk(topk_select(x, W, b, 16, operands), x, W, b, 16)
    assert doubtful == [6]


@pytest.mark.parametrize(("room", "with_bias"), [(1, True), (2, False), (5, True), (6, False)])
def test_doubtful_tokens_beyond_the_room_are_computed_one_by_one(room, with_bias, doubtful, monkeypatch):
    monkeypatch.setattr(topk, "LEAST_ROOM", room)
    x, W, b = problem(6, 41, 1400)
    if with_bias:
        b[256:384] += 4
    else:
        b, W[256:384] = None, W[256:384] * 4
    result = topk_select(x, W, b, 6, torch.bfloat16)
    assert doubtful[0] >= 5
    assert_is_topk(result, x, W, b, 6)
    assert (result[0][:, :-1] >= result[0][:, 1:]).all()


def test_a_token_alone_has_distinct_latents_whatever_its_scores(monkeypatch):
    """Ties go to the first latents; a NaN is no number to train on."""
    monkeypatch.setattr(topk, "LEAST_ROOM", 1)
    x, W = torch.ones(4, 4, device=DEVICE), torch.ones(1100, 4, device=DEVICE)
    x[2], x[3, 1] = 0, torch.nan
    acts, indices = torch.zeros(4, 6, device=DEVICE), torch.zeros(4, 6, dtype=torch.int64, device=DEVICE)
    acts, indices = topk._settle(x, W, None, acts, indices, torch.ones(4, dtype=torch.bool, device=DEVICE))
    assert torch.equal(acts[:3], torch.tensor([[4.0], [4.0], [0.0]], device=DEVICE).expand(3, 6))
    assert torch.equal(indices[1:3], torch.arange(6, device=DEVICE).expand(2, 6))
    assert not acts[3].isfinite().any()
    assert all(len(set(row)) == 6 for row in indices.tolist())


def test_a_left_out_score_within_the_margin_counts(doubtful):
    """All scores lie closer together than 16-bit operands can tell apart."""
    x, W, b = problem(4, 32, 1100)
    W = W[:1] * (1 + 1e-4 * torch.randn(1100, 1, device=DEVICE))
    assert_is_topk(topk_select(x, W, b * 0, 4, torch.bfloat16), x, W, b * 0, 4)
    assert sum(doubtful) > 0


@pytest.mark.parametrize("bias", [-100.0, -2.7], ids=["none", "few"])
def test_tokens_with_fewer_than_k_positive_scores(bias, doubtful):
    x, W, b = problem(5, 32, 1100, bias)
    result = topk_select(x, W, b, 8, torch.float16)
    assert_is_topk(result, x, W, b, 8)
    assert (result[0] == 0).any()
    assert sum(doubtful) <= 1


def test_ties_and_zero_tokens():
    x, W, b = torch.ones(3, 4, device=DEVICE), torch.ones(1100, 4, device=DEVICE), torch.zeros(1100, device=DEVICE)
    x[1] = 0
    acts, indices = topk_select(x, W, b, 6, torch.float16)
    assert torch.equal(acts, torch.tensor([[4.0], [0.0], [4.0]], device=DEVICE).expand(3, 6))
    assert ((indices >= 0) & (indices < 1100)).all()
    assert all(len(set(row)) == 6 for row in indices.tolist())


def test_values_beyond_float16_and_nan_are_left_to_float32():
    x, W, b = problem(3, 16, 1100)
    x[0] *= 1e6
    x[1, 3] = torch.nan
    acts, indices = topk_select(x, W, b, 4, torch.float16)
    ok = torch.tensor([0, 2], device=DEVICE)
    assert_is_topk((acts[ok], indices[ok]), x[ok], W, b, 4)
    assert acts[1].isnan().all()
    W[-1] = torch.nan
    _, indices = topk_select(x, W, b, 4, torch.float16)
    assert ((indices >= 0) & (indices < 1100)).all()


def test_the_same_bits_each_time():
    x, W, b = problem(9, 20, 1300)
    first, second = (topk_select(x, W, b, 5, torch.bfloat16) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_tile_keeps_enough_for_winners_that_fall_at_random():
    generator = torch.Generator().manual_seed(0)
    for k, latents in ((8, 4096), (64, 8192)):
        winners = torch.rand(4000, latents, generator=generator).topk(k, dim=1).indices
        counts = torch.zeros(4000, latents // 128).scatter_add_(1, winners // 128, torch.ones(4000, k))
        assert (counts.amax(dim=1) > candidates_per_tile(k, latents)).float().mean() < 3 * topk.RECOMPUTED


def test_config_takes_the_dense_form_where_k_is_large_for_the_latents():
    assert topk_config(2**16, 36864, 64, 90).per_tile <= 5
    assert topk_config(2**16, 2**20, 512, 90) is not None
    assert topk_config(2**16, 2048, 512, 90) is None
    assert topk_config(2**16, 100, 1, 90) is None
    assert [topk_config(tokens, 36864, 64, 90).block_b for tokens in (1, 33, 2**17)] == [16, 64, 128]
