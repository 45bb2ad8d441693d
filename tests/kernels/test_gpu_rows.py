"""Row-wise Triton kernels against float64 torch; on a CPU in Triton's interpreter."""

import pytest
import torch
from torch import Tensor

from kernels import reference
from kernels.gpu import rows
from kernels.gpu.rows import add_outer_, piece_length, row_products, rows_config, weighted_rows

pytestmark = pytest.mark.gpu
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = [(1, 1, 1, 1), (3, 2, 5, 17), (5, 9, 7, 130), (2, 8, 40, 576), (2, 17, 11, 1000)]
if DEVICE == "cuda":
    SHAPES += [(4096, 32, 36864, 576), (1000, 64, 8192, 2048)]
IDS = ["B{}-K{}-M{}-D{}".format(*shape) for shape in SHAPES]


def problem(tokens: int, k: int, latents: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values (some zero), indices (with repeats), weight and rows."""
    generator = torch.Generator().manual_seed(tokens + 7 * k)
    values = torch.randn(tokens, k, generator=generator)
    values[torch.rand(tokens, k, generator=generator) < 0.2] = 0
    indices = torch.randint(latents, (tokens, k), generator=generator)
    weight = torch.randn(latents, width, generator=generator)
    vectors = torch.randn(tokens, width, generator=generator)
    return values.to(DEVICE), indices.to(DEVICE), weight.to(DEVICE), vectors.to(DEVICE)


def expected_outer(out: Tensor, indices: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
    pairs = values.double()[:, :, None] * vectors.double()[:, None, :]
    return out.double().index_add(0, indices.flatten(), pairs.flatten(0, 1))


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_weighted_rows(shape):
    values, indices, weight, _ = problem(*shape)
    assert_close(
        weighted_rows(values, indices, weight), reference.sparse_decode(values.double(), indices, weight.double())
    )


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_row_products(shape):
    _, indices, weight, vectors = problem(*shape)
    assert_close(
        row_products(vectors, indices, weight), torch.einsum("bkd,bd->bk", weight.double()[indices], vectors.double())
    )


@pytest.mark.parametrize("deterministic", [False, True], ids=["atomic", "sorted"])
@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_add_outer(shape, deterministic):
    values, indices, weight, vectors = problem(*shape)
    expected = expected_outer(weight, indices, values, vectors)
    add_outer_(weight, indices, values, vectors, deterministic=deterministic)
    assert_close(weight, expected)


@pytest.mark.parametrize("hot", [0.0, 0.6, 1.0], ids=["even", "hot latent", "one latent"])
@pytest.mark.parametrize("latents", [1, 3, 50])
def test_long_segments_are_cut_and_joined_in_a_fixed_order(monkeypatch, latents, hot):
    """Pieces of 8 pairs, so that segments begin and end everywhere within cells; the same bits each time."""
    monkeypatch.setattr(rows, "piece_length", lambda pairs, width: 8)
    values, indices, weight, vectors = problem(29, 5, latents, 3)
    indices[torch.rand(indices.shape, device=DEVICE) < hot] = latents // 2
    expected = expected_outer(weight, indices, values, vectors)
    once, again = weight.clone(), weight.clone()
    for out in (once, again):
        add_outer_(out, indices, values, vectors, deterministic=True)
    assert torch.equal(once, again)
    assert_close(once, expected)


@pytest.mark.parametrize("width", [1, 16, 100, 576, 768, 2048, 8191, 8192])
def test_blocks_cover_a_row_and_waste_little(width):
    config = rows_config(width)
    covered = config.block_d * config.blocks(width)
    assert width <= covered <= max(width * 8 / 7, width + 127, 16)
    assert config.block_d <= 128 * config.num_warps


def test_pieces_bound_the_partial_sums():
    assert piece_length(100, 576) == 64
    for pairs, width in ((2**26, 8192), (2**22, 576)):
        partial_bytes = 2 * 4 * width * (pairs / piece_length(pairs, width))
        assert partial_bytes <= 128 << 20
