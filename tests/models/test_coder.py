"""Sparse coders: layouts, dtypes and shapes of what they are given, their configuration, and their evaluation."""

import pytest
import torch

from models import VARIANTS
from tests.support.coders import make_coder, make_tokens
from tests.support.definitions import plain_decode, plain_fvu


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
