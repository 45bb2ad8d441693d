"""Coders written for SAELens, read by SAELens itself."""

import importlib
import json
import re
from types import ModuleType

import pytest
import torch
from torch import Tensor

from models import VARIANTS, SparseCoder, SparseCoderConfig
from models.formats.saelens import ALLOWED, FORMAT_VERSION
from models.training import TrainConfig, Trainer

WIDTH = 12
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def sae_lens() -> ModuleType:
    """The installed SAELens, imported once: it takes five seconds, twenty on a cold disk."""
    return importlib.import_module("sae_lens")


def make_coder(
    variant: str, *, scale: float = 1.0, dtype: torch.dtype = torch.float32, **config: object
) -> SparseCoder:
    """A coder whose every parameter is random, encoder and decoder unlike where it has both."""
    generator = torch.Generator().manual_seed(0)
    coder = SparseCoder(WIDTH, SparseCoderConfig(**({"variant": variant, "num_latents": 60, "k": 5} | config))).to(
        dtype
    )
    with torch.no_grad():
        for parameter in coder.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    coder.set_decoder_norm_to_unit_norm()
    coder.input_scale = scale
    return coder


def make_tokens(tokens: int = 80, *, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (0.5 + 2 * torch.randn(tokens, WIDTH, generator=generator, dtype=torch.float64)).to(dtype)


def dense(coder: SparseCoder, x: Tensor) -> Tensor:
    """Activations of all latents in the units of the input, [B, M]."""
    encoded = coder.encode(x)
    zeros = torch.zeros(len(x), coder.num_latents, dtype=x.dtype)
    return zeros.scatter_add(1, encoded.latent_indices, encoded.latent_acts) / coder.input_scale


def assert_same_function(coder: SparseCoder, theirs: torch.nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(theirs(x), coder(x).sae_out, **CLOSE)
        torch.testing.assert_close(theirs.encode(x), dense(coder, x), **CLOSE)


@pytest.mark.parametrize("scale", [1.0, 0.05, 7.0])
@pytest.mark.parametrize("variant", ALLOWED)
def test_saelens_loads_the_same_function(variant, scale, sae_lens, tmp_path):
    coder, x = make_coder(variant, scale=scale), make_tokens() / scale
    coder.save_to_saelens(tmp_path / "new" / "sae")
    theirs = sae_lens.SAE.load_from_disk(str(tmp_path / "new" / "sae"))
    assert_same_function(coder, theirs, x)
    assert coder.input_scale == scale


@pytest.mark.parametrize("variant", ALLOWED)
def test_saelens_loads_a_trained_coder(variant, sae_lens, tmp_path):
    trainer = Trainer(SparseCoder(WIDTH, SparseCoderConfig(variant=variant, expansion_factor=4, k=3)), TrainConfig(
        steps=10, warmup_steps=2))  # fmt: skip
    x = 30 * make_tokens(400) + 50
    trainer.initialise(x)
    for _ in range(10):
        trainer.step(x)
    trainer.coder.save_to_saelens(tmp_path)
    theirs = sae_lens.SAE.load_from_disk(tmp_path)
    with torch.no_grad():
        out, acts = trainer.coder(x).sae_out, dense(trainer.coder, x)
        scale = float(x.std())
        torch.testing.assert_close(theirs(x) / scale, out / scale, **CLOSE)
        torch.testing.assert_close(theirs.encode(x) / scale, acts / scale, **CLOSE)


def test_a_latent_may_be_chosen_twice(sae_lens, tmp_path):
    coder, x = make_coder("mp-tied", num_latents=14, k=10), make_tokens()
    indices = coder.encode(x).latent_indices
    assert any(len(row.unique()) < len(row) for row in indices)
    coder.save_to_saelens(tmp_path)
    assert_same_function(coder, sae_lens.SAE.load_from_disk(tmp_path), x)


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_the_residual_threshold_stops_the_same_tokens(scale, sae_lens, tmp_path):
    x = make_tokens() / scale
    free = make_coder("mp-tied", k=8, scale=scale)
    left = (free(x).sae_out - x).norm(dim=1).detach()
    coder = make_coder("mp-tied", k=8, scale=scale, residual_threshold=float(left.median()) * 1.5)
    active = (coder.encode(x).latent_acts > 0).sum(dim=1)
    assert 1 <= active.min() < active.max() == 8
    coder.save_to_saelens(tmp_path)
    assert_same_function(coder, sae_lens.SAE.load_from_disk(tmp_path), x)


def test_a_token_within_the_threshold_from_the_start_takes_one_latent_there_and_none_here(sae_lens, tmp_path):
    coder = make_coder("mp-tied", residual_threshold=1e6)
    coder.save_to_saelens(tmp_path)
    with torch.no_grad():
        theirs = sae_lens.SAE.load_from_disk(tmp_path).encode(make_tokens())
    assert set((theirs > 0).sum(dim=1).tolist()) == {1}
    assert not coder.encode(make_tokens()).latent_acts.any()


@pytest.mark.parametrize("variant", ALLOWED)
def test_double_precision_stays(variant, sae_lens, tmp_path):
    coder, x = make_coder(variant, scale=3.0, dtype=torch.float64), make_tokens(dtype=torch.float64)
    coder.save_to_saelens(tmp_path)
    with torch.no_grad():
        out = sae_lens.SAE.load_from_disk(tmp_path)(x)
        torch.testing.assert_close(out, coder(x).sae_out, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", ALLOWED)
def test_saelens_itself_would_have_written_the_same_config(variant, sae_lens, tmp_path):
    coder = make_coder(variant, **({"residual_threshold": 0.25} if variant == "mp-tied" else {}))
    told = {"model_name": "some/model", "hook_name": "blocks.10.hook_resid_post", "context_size": 256}
    coder.save_to_saelens(tmp_path / "ours", told)
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "ours")
    assert theirs.cfg.metadata.model_name == "some/model"
    assert theirs.cfg.metadata.context_size == 256
    assert theirs.cfg.metadata.dataset_path is None
    assert theirs.get_name() == "sae_some/model_blocks.10.hook_resid_post_60"
    theirs.save_model(tmp_path / "theirs")
    ours, again = (
        json.loads((tmp_path / name / "cfg.json").read_text(encoding="utf-8")) for name in ("ours", "theirs")
    )
    assert ours == again
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("ours", "theirs")]
    assert files[0] == files[1] == ["cfg.json", "sae_weights.safetensors"]


def test_the_version_written_is_the_one_tested(sae_lens):
    assert sae_lens.__version__ == FORMAT_VERSION


@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - set(ALLOWED)))
def test_other_variants_are_refused_in_one_line(variant, tmp_path):
    message = f"variant {variant!r}: SAELens has no such coder; allowed are topk, mp-tied"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SparseCoder(WIDTH, SparseCoderConfig(variant=variant, num_latents=60, k=5)).save_to_saelens(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_nothing_is_overwritten(name, tmp_path):
    (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=f"^{re.escape(str(tmp_path))}: holds a {name} already; name another"):
        make_coder("topk").save_to_saelens(tmp_path)
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_metadata_that_json_cannot_hold_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError, match="Tensor is not JSON serializable"):
        make_coder("topk").save_to_saelens(tmp_path / "new", {"model_name": torch.zeros(1)})
    assert not (tmp_path / "new").exists()
