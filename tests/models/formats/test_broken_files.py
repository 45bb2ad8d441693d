"""Files of coders that are another library's, another version's or not what they were: one line says which and why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kernels import reference
from models import VARIANTS, SparseCoder, SparseCoderConfig
from tests.support.coders import make_coder, make_tokens

SPARSIFYS = ("activation", "expansion_factor", "normalize_decoder", "num_latents", "k", "multi_topk")
"""Fields that sparsify has written in every version; `d_in` beside them."""
STUDYS = {
    "normalize_encoder": False, "matching_pursuit": False, "ito": False, "mp_encoder": True, "mp_detach": False,
    "mp_untie": True, "mp_aux": False, "per_step_loss": False, "slice_encoder": False, "slice_decoder": False,
}  # fmt: skip
"""What the study's branch adds, with its defaults."""


def configured(directory: Path, **changes: Any) -> None:
    """Change fields of `cfg.json`; the value `...` removes one."""
    path = directory / "cfg.json"
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}), encoding="utf-8")


def as_sparsifys(directory: Path, **changes: Any) -> None:
    """Leave of `cfg.json` what sparsify would have written."""
    content = json.loads((directory / "cfg.json").read_text(encoding="utf-8"))
    ours = {name: ... for name in content if name not in (*SPARSIFYS, "d_in", "skip_connection", "transcode")}
    configured(directory, **ours, **changes)


def weighed(directory: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Replace the weights by what `change` makes of them, or has left of them."""
    weights = load_file(directory / "sae.safetensors")
    save_file(change(weights) or weights, directory / "sae.safetensors")


# ---- the study's branch


@pytest.mark.parametrize("big", [False, True], ids=["decoder", "big decoder"])
@pytest.mark.parametrize("normalised", [True, False, None], ids=["rows of length 1", "free rows", "not said"])
@pytest.mark.parametrize("refit", [False, True], ids=["mp", "ito"])
def test_a_pursuit_of_the_studys_branch_loads_as_what_it_is(
    refit: bool, normalised: bool | None, big: bool, tmp_path: Path
) -> None:
    """Its files hold what a TopK coder's do."""
    make_coder(scale=1.0, dtype=torch.float64).save_to_disk(tmp_path)
    as_sparsifys(tmp_path, **(STUDYS | {"matching_pursuit": True, "ito": refit, "normalize_decoder": normalised}))
    configured(tmp_path, slice_decoder=big)
    if normalised is None:
        configured(tmp_path, normalize_decoder=...)
    loaded = SparseCoder.load_from_disk(tmp_path)
    assert loaded.cfg.variant == ("ito" if refit else "mp") + "-study" + "-free-decoder" * (not normalised)
    weights, x = load_file(tmp_path / "sae.safetensors"), make_tokens(20, dtype=torch.float64)
    b_dec, W_dec = weights["b_dec"], weights["W_dec"]
    acts, indices, _ = reference.study_pursuit(
        x - b_dec, b_dec, weights["encoder.weight"], weights["encoder.bias"], W_dec, 3, refit=refit
    )
    found = loaded.encode(x)
    assert torch.equal(found.latent_indices, indices)
    torch.testing.assert_close(found.latent_acts, acts)
    written = reference.sparse_decode(acts, indices, W_dec)
    torch.testing.assert_close(loaded.decode(found.latent_acts, found.latent_indices), written)
    torch.testing.assert_close(loaded(x).sae_out, written)


@pytest.mark.parametrize(
    ("field", "variant"),
    [("transcode", "transcoder"), ("skip_connection", "sst"), ("slice_encoder", "topk")],
)
def test_other_pursuits_of_the_studys_branch_are_refused(field: str, variant: str, tmp_path: Path) -> None:
    make_coder(variant=variant).save_to_disk(tmp_path)
    transcode = {"transcode": field == "transcode", "skip_connection": field == "skip_connection"}
    as_sparsifys(tmp_path, **(STUDYS | transcode | {"matching_pursuit": True, field: True}))
    with pytest.raises(ValueError, match=rf"^{field} True in \S+cfg\.json: "):
        SparseCoder.load_from_disk(tmp_path)


def test_a_pursuit_of_the_branchs_first_commits_is_refused(tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    as_sparsifys(tmp_path, **(STUDYS | {"matching_pursuit": True}))
    configured(tmp_path, ito=...)
    with pytest.raises(ValueError, match=r"^matching_pursuit True in \S+cfg\.json: without a field ito"):
        SparseCoder.load_from_disk(tmp_path)


def test_a_coder_of_ours_that_claims_to_be_the_studys_is_refused(tmp_path: Path) -> None:
    make_coder(variant="mp").save_to_disk(tmp_path)
    configured(tmp_path, matching_pursuit=True)
    with pytest.raises(ValueError, match=r"^matching_pursuit True in \S+cfg\.json: of sparsify's branch mp-sae"):
        SparseCoder.load_from_disk(tmp_path)


@pytest.mark.parametrize("variant", ["topk", "transcoder", "sst"])
def test_an_ordinary_coder_of_the_studys_branch_loads_as_what_it_is(variant: str, tmp_path: Path) -> None:
    coder, x = make_coder(variant=variant), make_tokens(20)
    coder.save_to_disk(tmp_path)
    as_sparsifys(tmp_path, **STUDYS)
    loaded = SparseCoder.load_from_disk(tmp_path)
    assert loaded.cfg.variant == variant
    assert torch.equal(loaded(x).sae_out, coder(x).sae_out)


@pytest.mark.parametrize("field", ["ito", "slice_encoder", "slice_decoder"])
def test_what_gives_the_studys_weights_other_meanings_is_refused(field: str, tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    as_sparsifys(tmp_path, **(STUDYS | {field: True}))
    with pytest.raises(ValueError, match=rf"^{field} True in \S+cfg\.json: of sparsify's branch mp-sae, of which only"):
        SparseCoder.load_from_disk(tmp_path)


# ---- cfg.json


def test_k_is_not_guessed(tmp_path: Path) -> None:
    """With 32 latents or more, sparsify's default would fit."""
    make_coder(num_latents=40, k=3).save_to_disk(tmp_path)
    configured(tmp_path, k=...)
    with pytest.raises(ValueError, match=r"^\S+cfg\.json: k None: must be a whole number$"):
        SparseCoder.load_from_disk(tmp_path)


@pytest.mark.parametrize("value", ["yes", None, 1, [True]], ids=repr)
@pytest.mark.parametrize("field", ["transcode", "skip_connection"])
def test_switches_of_sparsify_are_on_or_off(field: str, value: Any, tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    as_sparsifys(tmp_path, **{field: value})
    with pytest.raises(ValueError) as raised:
        SparseCoder.load_from_disk(tmp_path)
    assert str(raised.value) == f"{field} {value!r} in {tmp_path / 'cfg.json'}: must be true or false"


def test_the_bias_of_our_own_skip_coder_stays_whatever_sparsifys_fields_say(tmp_path: Path) -> None:
    coder, x = make_coder(variant="sst"), make_tokens(20)
    coder.save_to_disk(tmp_path)
    configured(tmp_path, transcode=...)
    assert torch.equal(SparseCoder.load_from_disk(tmp_path)(x).sae_out, coder(x).sae_out)


@pytest.mark.parametrize("variant", [["mp"], {"name": "mp"}, None, 3], ids=repr)
def test_a_variant_of_another_type_is_named_with_the_file(variant: Any, tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    configured(tmp_path, variant=variant)
    with pytest.raises(ValueError) as raised:
        SparseCoder.load_from_disk(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / 'cfg.json'}: variant {variant!r}: allowed are topk, mp, ")


def test_a_file_that_an_editor_of_windows_wrote_is_read(tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    text = (tmp_path / "cfg.json").read_text(encoding="utf-8")
    (tmp_path / "cfg.json").write_text(text.replace("\n", "\r\n"), encoding="utf-8-sig")
    assert SparseCoder.load_from_disk(tmp_path).cfg == make_coder().cfg


# ---- weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_of_double_precision_stay(variant: str, tmp_path: Path) -> None:
    coder, x = make_coder(variant=variant, scale=0.3, dtype=torch.float64), make_tokens(20, dtype=torch.float64)
    coder.save_to_disk(tmp_path)
    loaded = SparseCoder.load_from_disk(tmp_path)
    assert loaded.W_dec.dtype == torch.float64
    torch.testing.assert_close(loaded(x).sae_out, coder(x).sae_out, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool], ids=str)
def test_quantised_weights_are_not_taken_for_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    weighed(tmp_path, lambda weights: weights.update(W_dec=weights["W_dec"].to(dtype)))
    with pytest.raises(ValueError, match=rf"^\S+sae\.safetensors: W_dec is {dtype}; expected floats$"):
        SparseCoder.load_from_disk(tmp_path)


def test_of_many_tensors_that_do_not_fit_a_few_are_named(tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    weighed(tmp_path, lambda _: {f"model.layers.{i}.weight": torch.zeros(2) for i in range(300)})
    with pytest.raises(ValueError, match=r" and 296 more$") as raised:
        SparseCoder.load_from_disk(tmp_path)
    assert len(str(raised.value)) < 800


# ---- places


def test_a_coder_of_saelens_is_named_as_one(tmp_path: Path) -> None:
    make_coder(variant="topk").save_to_saelens(tmp_path)
    with pytest.raises(ValueError, match=r"^\S+: holds SAELens' sae_weights\.safetensors, which sae_lens\.SAE\."):
        SparseCoder.load_from_disk(tmp_path)


@pytest.mark.parametrize("name", ["cfg.json", "sae.safetensors"])
def test_a_file_in_place_of_its_directory_is_named(name: str, tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    with pytest.raises(NotADirectoryError, match=rf"^\S+{name}: a file; expected the directory of cfg\.json and sae\."):
        SparseCoder.load_from_disk(tmp_path / name)


@pytest.mark.parametrize("device", ["nonsense", "meta"])
def test_the_device_and_not_the_file_is_blamed(device: str, tmp_path: Path) -> None:
    make_coder().save_to_disk(tmp_path)
    with pytest.raises(ValueError, match=rf"^device '{device}': "):
        SparseCoder.load_from_disk(tmp_path, device)


def test_a_coder_without_values_is_not_saved(tmp_path: Path) -> None:
    coder = SparseCoder(10, SparseCoderConfig(num_latents=40, k=3), device="meta")
    with pytest.raises(ValueError, match=r"^the coder is on meta, where it has no values to save$"):
        coder.save_to_disk(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_scale_that_was_set_to_a_tensor_is_saved(tmp_path: Path) -> None:
    coder, x = make_coder(scale=0.5), make_tokens(20)
    expected = coder(x).sae_out
    coder.input_scale = torch.tensor(0.5)  # type: ignore[assignment]
    coder.save_to_disk(tmp_path)
    torch.testing.assert_close(SparseCoder.load_from_disk(tmp_path)(x).sae_out, expected)
