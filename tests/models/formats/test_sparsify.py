"""Coders on disk and on the hub, and beside sparsify's own implementation."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import VARIANTS, SparseCoder, SparseCoderConfig
from tests.support.coders import TOLERANCE, make_coder, make_target, make_tokens

SPARSIFYS = {"topk": (False, False), "transcoder": (True, False), "sst": (True, True)}
"""Variants that sparsify has too, with its `transcode` and `skip_connection`."""
SCALES = [(1.0, 1.0), (0.05, 1.0), (7.0, 0.02)]


# ---- there and back


@pytest.mark.parametrize("scales", SCALES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_saved_coder_loads_as_the_same_function(variant, scales, tmp_path):
    coder, x = make_coder(variant=variant, scale=scales[0], target_scale=scales[1]), make_tokens(50)
    before = {name: value.clone() for name, value in coder.state_dict().items()}
    coder.save_to_disk(tmp_path / "new" / "coder")
    loaded = SparseCoder.load_from_disk(str(tmp_path / "new" / "coder"))
    assert (loaded.cfg, loaded.d_in, loaded.input_scale, loaded.target_scale) == (coder.cfg, 10, 1.0, 1.0)
    y = make_target(variant, 50)
    ours, theirs = coder(x, y), loaded(x, y)
    size = float(ours.sae_out.detach().abs().max())
    torch.testing.assert_close(theirs.sae_out, ours.sae_out, rtol=1e-5, atol=1e-5 * size)
    torch.testing.assert_close(theirs.fvu, ours.fvu, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(theirs.latent_acts * scales[0], ours.latent_acts, rtol=1e-4, atol=1e-4)
    active = ours.latent_acts.abs() > 1e-3
    assert torch.equal(theirs.latent_indices[active], ours.latent_indices[active])
    assert (coder.input_scale, coder.target_scale) == scales
    assert all(torch.equal(value, before[name]) for name, value in coder.state_dict().items())


@pytest.mark.parametrize("options", [{"detach_residual": True}, {"residual_threshold": 4.0}], ids=str)
@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_options_of_a_pursuit_are_saved(options, scale, tmp_path):
    coder, x = make_coder(variant="mp-tied", k=6, scale=scale, **options), make_tokens(50)
    coder.b_dec.data *= scale
    coder.save_to_disk(tmp_path)
    loaded = SparseCoder.load_from_disk(tmp_path)
    assert loaded.cfg == coder.cfg
    acts, loaded_acts = coder(x).latent_acts, loaded(x).latent_acts * scale
    torch.testing.assert_close(loaded_acts, acts, rtol=1e-4, atol=1e-4)
    assert (acts[:, -1] == 0).any() == ("residual_threshold" in options)


@pytest.mark.parametrize("variant", VARIANTS)
def test_cfg_json_says_what_the_coder_is(variant, tmp_path):
    coder = make_coder(variant=variant, scale=0.25)
    coder.save_to_disk(tmp_path)
    recipe = VARIANTS[variant]
    assert json.loads((tmp_path / "cfg.json").read_text(encoding="utf-8")) == {
        "activation": "topk" if variant in SPARSIFYS else variant,
        "variant": variant,
        "expansion_factor": 32,
        "num_latents": 40,
        "k": 3,
        "d_in": 10,
        "normalize_decoder": not recipe.free_decoder,
        "multi_topk": False,
        "skip_connection": recipe.skip,
        "transcode": recipe.transcode,
        "detach_residual": False,
        "residual_threshold": 0.0,
        "trained_input_scale": 0.25,
    }
    shapes = {name: list(value.shape) for name, value in load_file(tmp_path / "sae.safetensors").items()}
    assert shapes == {name: list(value.shape) for name, value in coder.named_parameters()}


# ---- what cannot be loaded


def reshape(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(directory / "sae.safetensors")
    change(weights)
    save_file(weights, directory / "sae.safetensors")


BROKEN = {
    "narrower": lambda weights: weights.update(W_dec=weights["W_dec"][..., :-1].contiguous()),
    "fewer latents": lambda weights: weights.update(W_dec=weights["W_dec"][..., 1:, :].contiguous()),
    "missing": lambda weights: weights.pop("W_dec"),
    "more": lambda weights: weights.update(W_gate=weights["W_dec"].clone()),
}


@pytest.mark.parametrize("change", BROKEN)
@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_of_other_shapes_are_refused_in_one_line(variant, change, tmp_path):
    make_coder(variant=variant).save_to_disk(tmp_path)
    reshape(tmp_path, BROKEN[change])
    with pytest.raises(ValueError, match=rf"^\S+sae\.safetensors: does not fit .* variant {variant}: \w+ .*\)$"):
        SparseCoder.load_from_disk(tmp_path)


@pytest.mark.parametrize("file", ["cfg.json", "sae.safetensors"])
def test_a_folder_without_a_coder_is_named(file, tmp_path):
    make_coder().save_to_disk(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"^\S+: no {file} there, which a sparse coder consists of$"):
        SparseCoder.load_from_disk(tmp_path)


def test_an_unknown_variant_is_refused_with_those_there_are(tmp_path):
    make_coder().save_to_disk(tmp_path)
    content = json.loads((tmp_path / "cfg.json").read_text(encoding="utf-8"))
    (tmp_path / "cfg.json").write_text(json.dumps(content | {"variant": "jumprelu"}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^\S+cfg\.json: variant 'jumprelu': allowed are {', '.join(VARIANTS)}$"):
        SparseCoder.load_from_disk(tmp_path)


# ---- beside sparsify


@pytest.fixture(scope="module")
def sparsify() -> ModuleType:
    """The installed sparsify, told to leave Triton alone: there may be no GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSIFY_DISABLE_TRITON", "1")
        return importlib.import_module("sparsify")


@pytest.mark.parametrize("scales", SCALES, ids=str)
@pytest.mark.parametrize("variant", SPARSIFYS)
def test_sparsify_loads_its_own_variants_as_the_same_function(variant, scales, sparsify, tmp_path):
    coder, x = make_coder(variant=variant, scale=scales[0], target_scale=scales[1]), make_tokens(50)
    y = make_target(variant, 50)
    coder.save_to_disk(tmp_path)
    loaded = sparsify.SparseCoder.load_from_disk(tmp_path)
    assert (loaded.cfg.transcode, loaded.cfg.skip_connection) == SPARSIFYS[variant]
    theirs, ours = loaded(x, y), coder(x, y)
    size = float(ours.sae_out.detach().abs().max())
    torch.testing.assert_close(theirs.sae_out, ours.sae_out, rtol=1e-5, atol=1e-5 * size)
    torch.testing.assert_close(theirs.fvu, ours.fvu, **TOLERANCE[torch.float32])


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in SPARSIFYS])
def test_sparsify_refuses_what_it_would_compute_otherwise(variant, sparsify, tmp_path):
    make_coder(variant=variant).save_to_disk(tmp_path)
    with pytest.raises(TypeError, match=rf"'topk'.* got {variant}$"):
        sparsify.SparseCoder.load_from_disk(tmp_path)


def make_sparsify_coder(sparsify: ModuleType, dtype: torch.dtype | None = None, **config: object) -> torch.nn.Module:
    coder = sparsify.SparseCoder(10, sparsify.SparseCoderConfig(k=3, expansion_factor=4, **config), dtype=dtype)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in coder.named_parameters():
            if name != "encoder.weight" and (name != "W_dec" or config.get("transcode")):
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    return coder


LOADABLE = {
    "topk": ({}, "topk"),
    "transcoder": ({"transcode": True}, "transcoder"),
    "skip transcoder": ({"transcode": True, "skip_connection": True}, "sst"),
    "autoencoder with a skip": ({"skip_connection": True}, "sst"),
    "rows of any length": ({"normalize_decoder": False}, "topk"),
    "multi_topk": ({"multi_topk": True}, "topk"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", LOADABLE)
def test_a_coder_of_sparsify_loads_as_the_same_function(kind, dtype, sparsify, tmp_path):
    config, variant = LOADABLE[kind]
    theirs, x = make_sparsify_coder(sparsify, dtype, **config), make_tokens(50)
    y = make_target("sst", 50) if config.get("transcode") else None
    if kind == "rows of any length":
        theirs.W_dec.data *= 1.7
    theirs.save_to_disk(tmp_path)
    theirs.cfg.multi_topk = False  # with it, sparsify's output is that of 4k latents
    ours = SparseCoder.load_from_disk(tmp_path)
    assert ours.cfg == SparseCoderConfig(variant=variant, expansion_factor=4, k=3)
    assert ours.W_dec.dtype == torch.float32
    in_half, full = theirs(x.to(dtype)).sae_out, theirs.float()(x, y)  # the same weights, computed in float32
    torch.testing.assert_close(ours(x, y).sae_out, full.sae_out, **TOLERANCE[torch.float32])
    torch.testing.assert_close(ours(x, y).fvu, full.fvu, **TOLERANCE[torch.float32])
    if dtype == torch.bfloat16:  # rounding there may change which latents are chosen, on a few tokens
        error = (ours(x).sae_out - in_half.float()).norm(dim=1) / x.norm(dim=1)
        assert error.median() < 2e-2


@pytest.mark.parametrize("dead_latents", [2, 30], ids=["few-dead", "many-dead"])
@pytest.mark.parametrize("variant", SPARSIFYS)
def test_auxk_equals_that_of_sparsify(variant, dead_latents, sparsify, tmp_path):
    coder, x, y = make_coder(variant=variant), make_tokens(50), make_target(variant, 50)
    coder.save_to_disk(tmp_path)
    dead = torch.arange(40) < dead_latents
    theirs = sparsify.SparseCoder.load_from_disk(tmp_path)(x, y, dead_mask=dead)
    torch.testing.assert_close(coder(x, y, dead_mask=dead).auxk_loss, theirs.auxk_loss, **TOLERANCE[torch.float32])


@pytest.mark.parametrize("field", [("activation", "groupmax", "topk"), ("signed", True, False)], ids=str)
def test_other_coders_of_sparsify_are_refused_in_one_line(field, sparsify, tmp_path):
    name, value, only = field
    make_sparsify_coder(sparsify).save_to_disk(tmp_path)
    content = json.loads((tmp_path / "cfg.json").read_text(encoding="utf-8"))
    (tmp_path / "cfg.json").write_text(json.dumps(content | {name: value}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^{name} {value!r} in \S+cfg\.json: only {only!r} can be loaded$"):
        SparseCoder.load_from_disk(tmp_path)


# ---- on the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot folder of repository `someone/coders` in a local cache; nothing is asked of the network."""
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--coders"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    (repository / "snapshots" / commit).mkdir(parents=True)
    return repository / "snapshots" / commit


@pytest.mark.parametrize("variant", ["topk", "mp-tied", "mp-transcoder"])
@pytest.mark.parametrize("hookpoint", ["layers.3.mlp", None])
def test_a_coder_on_the_hub_loads_as_the_same_function(hookpoint, variant, hub):
    coder, x = make_coder(variant=variant, scale=0.5), make_tokens(20)
    coder.save_to_disk(hub / hookpoint if hookpoint else hub)
    loaded = SparseCoder.load_from_hub("someone/coders", hookpoint)
    assert loaded.cfg == coder.cfg
    torch.testing.assert_close(loaded(x).sae_out, coder(x).sae_out, rtol=1e-5, atol=1e-4)


def test_a_repository_of_several_coders_asks_for_one_of_its_folders(hub):
    for folder in ("layers.3.mlp", "layers.10", "deep/layers.1"):
        make_coder().save_to_disk(hub / folder)
    message = "hookpoint None: must name a folder of someone/coders; there are deep/layers.1, layers.10, layers.3.mlp"
    with pytest.raises(FileNotFoundError, match=f"^{message}$"):
        SparseCoder.load_from_hub("someone/coders")
    with pytest.raises(FileNotFoundError, match=r"^\S+layers\.9: no cfg\.json there, which a sparse coder .*$"):
        SparseCoder.load_from_hub("someone/coders", "layers.9")


def test_a_repository_without_coders_says_so(hub):
    with pytest.raises(FileNotFoundError, match=r"^hookpoint None: must name a folder .*; there are none$"):
        SparseCoder.load_from_hub("someone/coders")
