"""What else a coder can be handed that does not fit: each is one line that names it, or is what it means."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from models import VARIANTS, SparseCoder, SparseCoderConfig
from tests.support.coders import make_coder, make_tokens

SKIPS = [name for name, recipe in VARIANTS.items() if recipe.skip]
ANY_K = [name for name, recipe in VARIANTS.items() if recipe.any_k]


# ---- decoding


@pytest.mark.parametrize("index", [-1, 40, 100])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_latent_that_there_is_not_is_named(variant: str, index: int) -> None:
    """With a decoder for each step, latent 40 of step 0 would be latent 0 of step 1."""
    coder, x = make_coder(variant=variant), make_tokens(2)
    indices = torch.tensor([[index, 0, 1], [2, 3, 4]])
    message = (
        rf"^indices are from {min(index, 0)} to {max(index, 4)}; expected 0 to 39 \(the number of latents is 40\)$"
    )
    with pytest.raises(ValueError, match=message):
        coder.decode(torch.ones(2, 3), indices, x)


DECODED: dict[str, tuple[Callable[[], tuple[Any, Any]], str]] = {
    "acts of one token": (
        lambda: (torch.ones(3), torch.zeros(3, dtype=torch.int64)),
        r"acts has shape \[3\]; expected \[rows, columns\]",
    ),
    "no acts": (lambda: (None, torch.zeros(2, 3, dtype=torch.int64)), "acts is NoneType; expected a tensor of real .*"),
    "indices of 32 bits": (
        lambda: (torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.int32)),
        r"indices is torch\.int32 of shape \[2, 3\]; expected torch\.int64 of \[2, 3\]",
    ),
    "fewer indices": (
        lambda: (torch.ones(2, 3), torch.zeros(2, 2, dtype=torch.int64)),
        r"indices is torch\.int64 of shape \[2, 2\]; expected torch\.int64 of \[2, 3\]",
    ),
    "a list of indices": (
        lambda: (torch.ones(2, 3), [[0, 1, 2]] * 2),
        r"indices is list of shape \[\]; expected torch\.int64 of \[2, 3\]",
    ),
}


@pytest.mark.parametrize("case", DECODED)
@pytest.mark.parametrize("variant", ["topk", "mp-big-decoder", "sst"])
def test_activations_that_cannot_be_decoded_are_named(variant: str, case: str) -> None:
    make, message = DECODED[case]
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_coder(variant=variant).decode(*make(), make_tokens(2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_activations_of_another_dtype_are_decoded_in_that_of_the_weights(variant: str, dtype: torch.dtype) -> None:
    coder, x = make_coder(variant=variant), make_tokens(4)
    acts, indices, _ = coder.encode(x)
    acts = acts.detach().to(dtype)
    assert torch.equal(coder.decode(acts, indices, x.to(dtype)), coder.decode(acts.float(), indices, x.to(dtype)))


@pytest.mark.parametrize("variant", SKIPS)
def test_one_input_is_not_that_of_several_tokens(variant: str) -> None:
    coder, x = make_coder(variant=variant), make_tokens(4)
    acts, indices, _ = coder.encode(x)
    with pytest.raises(ValueError, match=r"^x has shape \[1, 10\]; expected \[4, 10\] as acts$"):
        coder.decode(acts, indices, x[:1])


# ---- forward


MASKS: dict[str, tuple[Any, str]] = {
    "fewer latents": (torch.ones(39, dtype=torch.bool), r"torch\.bool of shape \[39\]"),
    "more latents": (torch.ones(41, dtype=torch.bool), r"torch\.bool of shape \[41\]"),
    "a column": (torch.ones(40, 1, dtype=torch.bool), r"torch\.bool of shape \[40, 1\]"),
    "numbers": (torch.ones(40), r"torch\.float32 of shape \[40\]"),
    "a list": ([True] * 40, r"list of shape \[\]"),
}


@pytest.mark.parametrize("case", MASKS)
def test_a_mask_that_does_not_say_of_each_latent_whether_it_is_dead_is_named(case: str) -> None:
    mask, found = MASKS[case]
    with pytest.raises(ValueError, match=rf"^dead_mask is {found}; expected torch\.bool of \[40\]$"):
        make_coder()(make_tokens(4), dead_mask=mask)


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize(
    ("make", "found"),
    [(lambda d: [[0.0] * d] * 4, "list"), (lambda d: np.zeros((4, d)), "float64")],
    ids=["list", "np"],
)
def test_what_is_no_tensor_is_named(make: Callable[[int], Any], found: str, name: str) -> None:
    given = {"x": make_tokens(4)} | {name: make(10)}
    with pytest.raises(ValueError, match=rf"^{name} is {found}; expected a tensor of real numbers$"):
        make_coder()(**given)


def test_a_target_or_a_mask_elsewhere_is_named() -> None:
    coder, x = make_coder(), make_tokens(4)
    with pytest.raises(ValueError, match=r"^y is on meta, the coder on cpu; move one of them$"):
        coder(x, x.to("meta"))
    with pytest.raises(ValueError, match=r"^dead_mask is on meta, the coder on cpu; move one of them$"):
        coder(x, dead_mask=torch.ones(40, dtype=torch.bool, device="meta"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_token_that_is_no_number_leaves_the_others_alone(variant: str) -> None:
    coder, x = make_coder(variant=variant), make_tokens(6)
    expected = coder(x).sae_out[1:]
    x[0] = float("nan")
    out = coder(x).sae_out
    assert out[0].isnan().all()
    torch.testing.assert_close(out[1:], expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_coder_without_values_tells_shapes(variant: str) -> None:
    coder = SparseCoder(10, SparseCoderConfig(variant=variant, num_latents=40, k=3), device="meta")
    assert coder(torch.empty(5, 10, device="meta")).sae_out.shape == (5, 10)
    coder.to_empty(device="cpu").load_state_dict(make_coder(variant=variant, scale=0.5).state_dict())
    x = make_tokens(5)
    assert torch.equal(coder(x).sae_out, make_coder(variant=variant, scale=0.5)(x).sae_out)


@pytest.mark.parametrize("variant", ["topk", "mp", "mp-big-decoder", "mp-study", "sst"])
def test_a_compiled_coder_computes_the_same(variant: str) -> None:
    coder, x = make_coder(variant=variant), make_tokens(8)
    compiled = torch.compile(coder, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x).sae_out, coder(x).sae_out)


# ---- numbers


@pytest.mark.parametrize("k", [2.0, "3", True, [3], float("nan")], ids=repr)
@pytest.mark.parametrize("variant", VARIANTS)
def test_another_k_that_is_no_whole_number_is_named(variant: str, k: Any) -> None:
    with pytest.raises(ValueError) as raised:
        make_coder(variant=variant).encode(make_tokens(2), k)
    assert str(raised.value) == f"k {k!r}: must be a whole number"


@pytest.mark.parametrize("k", [0, -1, 41])
@pytest.mark.parametrize("variant", ANY_K)
def test_another_k_that_cannot_be_is_named(variant: str, k: int) -> None:
    with pytest.raises(ValueError, match=rf"^k is {k}; expected 1 to 40 \(the number of latents\)$"):
        make_coder(variant=variant).encode(make_tokens(2), k)


def test_numbers_of_another_library_are_numbers(tmp_path: Any) -> None:
    cfg = SparseCoderConfig(
        variant="mp-tied", num_latents=np.int64(16), k=np.int32(3), residual_threshold=np.float32(0.5)
    )
    coder = SparseCoder(np.int64(10), cfg)  # type: ignore[arg-type]
    assert coder.encode(make_tokens(4), np.int64(2)).latent_acts.shape == (4, 2)  # type: ignore[arg-type]
    coder.save_to_disk(tmp_path)
    assert SparseCoder.load_from_disk(tmp_path).cfg == cfg
    assert cfg == SparseCoderConfig(variant="mp-tied", num_latents=16, k=3, residual_threshold=0.5)


@pytest.mark.parametrize("cfg", [None, {"k": 3}], ids=repr)
def test_what_is_no_config_is_named(cfg: Any) -> None:
    with pytest.raises(ValueError, match=rf"^cfg is a {type(cfg).__name__}; expected a SparseCoderConfig$"):
        SparseCoder(10, cfg)


@pytest.mark.parametrize("variant", [["topk"], {}, None, 3], ids=repr)
def test_a_variant_of_another_type_is_named(variant: Any) -> None:
    with pytest.raises(ValueError) as raised:
        SparseCoderConfig(variant=variant)
    assert str(raised.value) == f"variant {variant!r}: allowed are {', '.join(VARIANTS)}"


UNUSABLE = ["nonsense", None if torch.cuda.is_available() else "cuda"]


@pytest.mark.parametrize("device", [name for name in UNUSABLE if name])
def test_a_device_that_there_is_not_is_named(device: str, tmp_path: Any) -> None:
    message = rf"^device '{device}': cannot be used here \(.+\)$"
    with pytest.raises(ValueError, match=message):
        SparseCoder(10, SparseCoderConfig(num_latents=40, k=3), device=device)


# ---- scales


@pytest.mark.parametrize("name", ["input_scale", "target_scale"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), [1.0, 2.0]], ids=repr)
def test_a_scale_that_cannot_be_is_named(name: str, value: Any) -> None:
    coder = make_coder(scale=0.5, target_scale=0.25)
    state = coder.state_dict() | {name: torch.tensor(value)}
    with pytest.raises(RuntimeError) as raised:
        coder.load_state_dict(state)
    assert f"{name} {value}: must be a positive number" in str(raised.value)
    assert (coder.input_scale, coder.target_scale) == (0.5, 0.25)


def test_the_scales_have_values_where_the_default_device_holds_none() -> None:
    with torch.device("meta"):
        state = make_coder(scale=0.5).state_dict()
    assert float(state["input_scale"]) == 0.5


def test_a_coder_within_another_module_keeps_its_scales() -> None:
    pair = torch.nn.ModuleDict({"a": make_coder(scale=0.5), "b": make_coder(scale=3.0)})
    other = torch.nn.ModuleDict({"a": make_coder(seed=4), "b": make_coder(seed=5)})
    other.load_state_dict(pair.state_dict())
    assert [other[name].input_scale for name in "ab"] == [0.5, 3.0]
