"""What people do with a coder: copies of its state, inputs and weights of any kind, files that are not whole."""

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models import VARIANTS, SparseCoder, SparseCoderConfig
from tests.support.coders import make_coder, make_tokens
from tests.support.trainers import make_batches, make_trainer, train

# ---- state


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_state_of_a_coder_is_all_that_it_computes_with(variant: str) -> None:
    coder, x = make_coder(variant=variant, scale=0.3, target_scale=2.5), make_tokens(20)
    other = make_coder(variant=variant, seed=9)
    file = io.BytesIO()
    torch.save(coder.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert (other.input_scale, other.target_scale) == (0.3, 2.5)
    assert torch.equal(other(x, x).sae_out, coder(x, x).sae_out)
    assert torch.equal(copy.deepcopy(coder)(x, x).sae_out, coder(x, x).sae_out)


def test_a_trained_coder_keeps_its_fvu_when_its_state_is_copied() -> None:
    trainer = make_trainer("mp")
    train(trainer, make_batches(20))
    x = 100 * make_batches(1)[0]
    fresh = make_trainer("mp", seed=5).coder
    fresh.load_state_dict(trainer.coder.state_dict())
    assert float(fresh(x).fvu.detach()) == float(trainer.coder(x).fvu.detach())


def test_the_scales_lose_nothing_in_weights_of_less_precision() -> None:
    coder = make_coder(scale=0.1, target_scale=1 / 3).to(torch.bfloat16)
    other = make_coder().to(torch.bfloat16)
    other.load_state_dict(coder.state_dict())
    assert (other.input_scale, other.target_scale) == (0.1, 1 / 3)


def test_the_state_of_an_older_version_leaves_the_scales_as_they_are() -> None:
    older = {name: weight for name, weight in make_coder(seed=2).state_dict().items() if "scale" not in name}
    coder = make_coder(scale=0.5)
    coder.load_state_dict(older)
    assert coder.input_scale == 0.5
    assert torch.equal(coder.W_dec, make_coder(seed=2).W_dec)


def test_a_state_with_more_or_less_than_a_coder_has_is_refused() -> None:
    state = make_coder().state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"W_gate\""):
        make_coder().load_state_dict(state | {"W_gate": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"b_dec\""):
        make_coder().load_state_dict({name: weight for name, weight in state.items() if name != "b_dec"})


# ---- inputs and weights


@pytest.mark.parametrize("size", [(10, 40), (64, 2048)], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_rows_give_no_rows(variant: str, size: tuple[int, int]) -> None:
    """The larger size is one at which the compiled forms of TopK and of the pursuits are taken."""
    coder = make_coder(size[0], num_latents=size[1], variant=variant)
    x = torch.zeros(0, coder.d_in, requires_grad=True)
    out = coder(x)
    assert out.sae_out.shape == (0, coder.d_in)
    assert out.latent_acts.shape == out.latent_indices.shape == (0, coder.cfg.k)
    (out.sae_out.sum() + out.latent_acts.sum()).backward()
    for name, parameter in coder.named_parameters():
        assert parameter.grad is None or not parameter.grad.any(), name
    encoded = coder.encode(x)
    assert coder.decode(encoded.latent_acts, encoded.latent_indices, x).shape == (0, coder.d_in)
    if (gram := coder.gram(1 << 20)) is not None:
        assert coder.encode(x, gram=gram).latent_acts.shape == (0, coder.cfg.k)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_in_half_precision_are_named(variant: str, dtype: torch.dtype) -> None:
    coder, x = make_coder(variant=variant), make_tokens(5)
    assert coder(x.to(dtype)).sae_out.dtype == torch.float32
    expected = rf"^the coder's weights are {dtype}; they must be float32 or float64: coder\.float\(\)$"
    with pytest.raises(ValueError, match=expected):
        coder.to(dtype)(x)
    assert coder.float()(x).sae_out.dtype == torch.float32


INPUTS: dict[str, tuple[Callable[[int], Any], str]] = {
    "one token without its dimension": (lambda d: torch.zeros(d), r"x has shape \[10\]; expected \[rows, 10\]"),
    "sequences": (lambda d: torch.zeros(2, 3, d), r"x has shape \[2, 3, 10\]; expected \[rows, 10\]"),
    "another width": (lambda d: torch.zeros(2, d + 1), r"x has shape \[2, 11\]; expected \[rows, 10\]"),
    "complex": (
        lambda d: torch.zeros(2, d, dtype=torch.complex64),
        "x is torch.complex64; expected a tensor of .*",
    ),
    "a list": (lambda d: [[0.0] * d], "x is list; expected a tensor of real numbers"),
    "another device": (lambda d: torch.zeros(2, d, device="meta"), "x is on meta, the coder on cpu; move one of them"),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_an_input_that_cannot_be_read_is_named(kind: str) -> None:
    make, message = INPUTS[kind]
    coder = make_coder()
    for use in (coder, coder.encode):
        with pytest.raises(ValueError, match=f"^{message}$"):
            use(make(coder.d_in))


def test_inputs_of_any_layout_and_real_type_are_read() -> None:
    coder, x = make_coder(), make_tokens(6)
    assert torch.equal(coder(x.T.contiguous().T).sae_out, coder(x).sae_out)
    whole = torch.arange(60).reshape(6, 10)
    assert torch.equal(coder(whole).sae_out, coder(whole.float()).sae_out)


BAD_TYPES = {
    "k None": {"k": None}, "k 4.0": {"k": 4.0}, "k '4'": {"k": "4"}, "k True": {"k": True},
    "num_latents None": {"num_latents": None}, "expansion_factor 0.5": {"expansion_factor": 0.5},
    "residual_threshold None": {"residual_threshold": None}, "residual_threshold '1'": {"residual_threshold": "1"},
    "detach_residual 'yes'": {"detach_residual": "yes"}, "variant None": {"variant": None},
}  # fmt: skip


@pytest.mark.parametrize("words", BAD_TYPES)
def test_values_of_another_type_are_named(words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}: "):
        SparseCoderConfig(**BAD_TYPES[words])


@pytest.mark.parametrize("d_in", [0, -3, None, 2.0, "12"], ids=repr)
def test_a_width_that_is_none_is_named(d_in: Any) -> None:
    with pytest.raises(ValueError, match=rf"^d_in {d_in!r}: must be a whole number, 1 or more$"):
        SparseCoder(d_in, SparseCoderConfig(k=2, num_latents=8))


# ---- files


def edited(directory: Path, **changes: Any) -> None:
    """Change fields of `cfg.json`; the value `...` removes one."""
    path = directory / "cfg.json"
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}), encoding="utf-8")


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no d_in": (lambda place: edited(place, d_in=...), r"\S+cfg\.json: d_in None: must be a whole number, 1 or more"),
    "k null": (lambda place: edited(place, k=None), r"\S+cfg\.json: k None: must be a whole number"),
    "k as text": (lambda place: edited(place, k="4"), r"\S+cfg\.json: k '4': must be a whole number"),
    "the study's branch": (
        lambda place: edited(place, variant=..., activation="topk", matching_pursuit=True, slice_encoder=True),
        r"slice_encoder True in \S+cfg\.json: of sparsify's branch mp-sae, of which only pursuits without .*",
    ),
    "a field of a later version": (lambda place: edited(place, gated=True), r"gated True in \S+cfg\.json: no field .*"),
    "no JSON": (
        lambda place: (place / "cfg.json").write_text("{", encoding="utf-8"),
        r"\S+cfg\.json: cut short or not a JSON file \(.*\)",
    ),
    "a list": (
        lambda place: (place / "cfg.json").write_text("[]", encoding="utf-8"),
        r"\S+cfg\.json: must hold a JSON object, not list",
    ),
    "weights cut short": (
        lambda place: (place / "sae.safetensors").write_bytes((place / "sae.safetensors").read_bytes()[:100]),
        r"\S+sae\.safetensors: cut short or not a safetensors file \(.*\)",
    ),
    "a git-LFS pointer": (
        lambda place: (place / "sae.safetensors").write_text(
            "version https://git-lfs.github.com/spec/v1\n", encoding="utf-8"
        ),
        r"\S+sae\.safetensors: cut short or not a safetensors file \(.*\)",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_coder_are_named(case: str, tmp_path: Path) -> None:
    change, message = FILES[case]
    make_coder().save_to_disk(tmp_path)
    change(tmp_path)
    with pytest.raises(ValueError, match=f"^{message}$"):
        SparseCoder.load_from_disk(tmp_path)


def test_a_field_of_another_version_that_is_off_changes_nothing(tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    edited(tmp_path, matching_pursuit=False)
    assert torch.equal(SparseCoder.load_from_disk(tmp_path).W_dec, make_coder().W_dec)


def test_a_folder_of_hookpoints_names_the_coders_in_it(tmp_path: Path) -> None:
    for name in ("layers.0", "layers.1"):
        make_coder().save_to_disk(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"; there are coders below it: layers\.0, layers\.1$"):
        SparseCoder.load_from_disk(tmp_path)


@pytest.mark.parametrize("variant", VARIANTS)
def test_autocast_around_a_coder_changes_nothing(variant: str) -> None:
    coder, x = make_coder(variant=variant), make_tokens(30)
    out = coder(x)
    with torch.autocast("cpu", torch.bfloat16):
        cast = coder(x)
        encoded = coder.encode(x)
        decoded = coder.decode(encoded.latent_acts, encoded.latent_indices, x)
    assert torch.equal(cast.latent_indices, out.latent_indices)
    torch.testing.assert_close(cast.sae_out, out.sae_out, rtol=0, atol=0)
    torch.testing.assert_close(decoded, out.sae_out)


def test_a_coder_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    make_coder(seed=0).save_to_disk(tmp_path)
    before = (tmp_path / "sae.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match=r"holds a cfg\.json already; overwrite=True replaces it"):
        make_coder(seed=1).save_to_disk(tmp_path)
    assert (tmp_path / "sae.safetensors").read_bytes() == before
    make_coder(seed=1).save_to_disk(tmp_path, overwrite=True)
    assert (tmp_path / "sae.safetensors").read_bytes() != before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float, tmp_path: Path) -> None:
    coder = make_coder()
    coder.W_dec.data[3, 4] = value
    coder.save_to_disk(tmp_path)
    with pytest.raises(ValueError, match=r"sae.safetensors: W_dec has values that are NaN or infinite"):
        SparseCoder.load_from_disk(tmp_path)


def test_the_config_says_the_true_number_of_latents(tmp_path: Path) -> None:
    coder = SparseCoder(10, SparseCoderConfig(expansion_factor=3, k=2))
    coder.save_to_disk(tmp_path)
    assert json.loads((tmp_path / "cfg.json").read_text(encoding="utf-8"))["num_latents"] == 30
    assert SparseCoder.load_from_disk(tmp_path).num_latents == 30
