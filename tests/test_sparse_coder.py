"""Sparse coders against their definitions in float64, on disk, and beside sparsify's own implementation."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kernels import reference
from models import SparseCoder, SparseCoderConfig
from models.evaluation import Evaluation, FvuSum

VARIANTS = ["topk", "mp"]
TOLERANCE = {torch.float64: {"rtol": 1e-9, "atol": 1e-9}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}


def make_coder(
    d_in: int = 10, *, scale: float = 1.0, dtype: torch.dtype = torch.float32, seed: int = 0, **config: object
) -> SparseCoder:
    """A coder whose every parameter is random: biases not 0, encoder and decoder no longer alike."""
    config = {"k": 3, "num_latents": 40} | config
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        coder = SparseCoder(d_in, SparseCoderConfig(**config)).to(dtype)
    with torch.no_grad():
        for parameter in coder.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    coder.set_decoder_norm_to_unit_norm()
    coder.input_scale = scale
    return coder


def make_tokens(tokens: int, d_in: int = 10, *, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (0.5 + 2 * torch.randn(tokens, d_in, generator=generator, dtype=torch.float64)).to(dtype)


def plain_fvu(y: Tensor, out: Tensor) -> Tensor:
    return ((y - out) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()


def plain_encode(coder: SparseCoder, weights: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Activations, indices and what is left over, as the definitions read."""
    centred = coder.input_scale * x - weights["b_dec"]
    encoder = weights["encoder.weight"], weights["encoder.bias"]
    if coder.cfg.variant == "topk":
        return *reference.topk_encode(centred, *encoder, coder.cfg.k), centred
    detach = coder.cfg.detach_residual
    return reference.matching_pursuit(centred, *encoder, weights["W_dec"], coder.cfg.k, detach_residual=detach)


def plain_forward(coder: SparseCoder, weights: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction, activations and indices."""
    acts, indices, _ = plain_encode(coder, weights, x)
    out = (reference.sparse_decode(acts, indices, weights["W_dec"]) + weights["b_dec"]) / coder.input_scale
    return out, acts, indices


def plain_weights(coder: SparseCoder) -> dict[str, Tensor]:
    return {name: value.detach().double().requires_grad_() for name, value in coder.named_parameters()}


# ---- forward and gradients

SHAPES = {
    "ordinary": (33, 10, 60, 5),
    "k=1": (20, 8, 30, 1),
    "k=M": (12, 4, 9, 9),
    "B=1": (1, 10, 60, 5),
    "M=300": (9, 6, 300, 7),
    "M=256": (9, 6, 256, 7),
    "d=1": (9, 1, 5, 2),
}
CHOICES = {
    "topk": {"variant": "topk"},
    "mp": {"variant": "mp"},
    "mp-detached": {"variant": "mp", "detach_residual": True},
}


@pytest.mark.parametrize("scale", [1.0, 0.37], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_every_gradient_equal_the_definition(shape, choice, scale):
    tokens, width, latents, k = SHAPES[shape]
    coder = make_coder(width, num_latents=latents, k=k, scale=scale, dtype=torch.float64, **CHOICES[choice])
    x = make_tokens(tokens, width, dtype=torch.float64)
    x[-1] = 0
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = plain_weights(coder)
    variance = torch.tensor(3.0, dtype=torch.float64) if tokens == 1 else None  # one token has no variance of its own
    out = coder(ours, variance=variance)
    expected, acts, indices = plain_forward(coder, weights, theirs)
    expected_fvu = plain_fvu(theirs, expected) if variance is None else ((theirs - expected) ** 2).sum() / variance

    torch.testing.assert_close(out.sae_out, expected, **TOLERANCE[torch.float64])
    torch.testing.assert_close(out.latent_acts, acts, **TOLERANCE[torch.float64])
    torch.testing.assert_close(out.fvu, expected_fvu, **TOLERANCE[torch.float64])
    assert torch.equal(out.latent_indices[acts > 1e-12], indices[acts > 1e-12])
    assert out.auxk_loss == 0

    probe = torch.linspace(-1, 1, acts.numel(), dtype=torch.float64).view_as(acts)
    (out.fvu + (out.latent_acts * probe).sum()).backward()
    (expected_fvu + (acts * probe).sum()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, **TOLERANCE[torch.float64])
    for name, parameter in coder.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, msg=name, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_is_close_to_float64(variant):
    coder, x = make_coder(variant=variant, scale=0.4), make_tokens(64)
    expected, _, _ = plain_forward(coder, plain_weights(coder), x.double())
    torch.testing.assert_close(coder(x).sae_out.double(), expected, **TOLERANCE[torch.float32])


@pytest.mark.parametrize("bias", [-0.5, 0.0], ids=["silent", "at-threshold"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_inputs_at_the_centre_reconstruct_to_it_with_no_latent_active(variant, bias):
    coder = make_coder(variant=variant, scale=0.5)
    coder.encoder.bias.data.fill_(bias)
    x = (coder.b_dec / coder.input_scale).detach().expand(4, -1)
    out = coder(x)
    assert torch.equal(out.latent_acts, torch.zeros(4, 3))
    torch.testing.assert_close(out.sae_out, x)
    out.sae_out.sum().backward()
    assert torch.equal(coder.encoder.weight.grad, torch.zeros_like(coder.encoder.weight))


@pytest.mark.parametrize("variant", VARIANTS)
def test_zero_input_is_finite(variant):
    coder = make_coder(variant=variant)
    out = coder(torch.zeros(5, 10))
    out.sae_out.pow(2).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in coder.parameters())
    torch.testing.assert_close(out.sae_out, out.sae_out[:1].expand(5, -1))


@pytest.mark.parametrize("scale", [1.0, 3.0], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_decoding_what_was_encoded_gives_the_output_of_forward(variant, scale):
    coder, x = make_coder(variant=variant, scale=scale, k=6), make_tokens(40)
    out, encoded = coder(x), coder.encode(x)
    assert torch.equal(encoded.latent_acts, out.latent_acts)
    assert torch.equal(encoded.latent_indices, out.latent_indices)
    decoded = coder.decode(encoded.latent_acts, encoded.latent_indices)
    torch.testing.assert_close(decoded, out.sae_out, **TOLERANCE[torch.float32])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_first_latents_alone_can_be_decoded(variant):
    coder, x = make_coder(variant=variant, k=6), make_tokens(8)
    encoded = coder.encode(x)
    acts, indices = encoded.latent_acts[:, :2], encoded.latent_indices[:, :2]
    expected = reference.sparse_decode(acts, indices, coder.W_dec) + coder.b_dec
    torch.testing.assert_close(coder.decode(acts, indices), expected)


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


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_shared_gram_changes_nothing(variant):
    coder, x = make_coder(40, variant=variant, num_latents=48, k=4), make_tokens(50, 40)
    gram = coder.gram(len(x))
    assert (gram is None) == (variant == "topk")
    torch.testing.assert_close(coder(x[:7], gram=gram).sae_out, coder(x[:7]).sae_out, **TOLERANCE[torch.float32])


# ---- AuxK


def plain_auxk(coder: SparseCoder, weights: dict[str, Tensor], x: Tensor, dead: Tensor) -> Tensor:
    """The loss over latents where `dead`, scored one token at a time."""
    _, _, left = plain_encode(coder, weights, x)
    out, _, _ = plain_forward(coder, weights, x)
    half = coder.d_in // 2
    total = torch.zeros((), dtype=torch.float64)
    for left_D, error_D in zip(left.detach(), (x - out).detach(), strict=True):
        scores = torch.relu(weights["encoder.weight"] @ left_D + weights["encoder.bias"])
        ranked = sorted(dead.nonzero()[:, 0].tolist(), key=lambda j: -scores[j].item())
        predicted_D = sum(scores[j] * weights["W_dec"][j] for j in ranked[:half]) / coder.input_scale
        total = total + ((predicted_D - error_D) ** 2).sum()
    return min(1.0, int(dead.sum()) / half) * total / ((x - x.mean(0)) ** 2).sum()


@pytest.mark.parametrize("scale", [1.0, 0.3], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("dead_latents", [1, 3, 20, 40])
@pytest.mark.parametrize("variant", VARIANTS)
def test_auxk_and_its_gradients_equal_the_definition(variant, dead_latents, scale):
    coder = make_coder(variant=variant, scale=scale, dtype=torch.float64)
    x, weights = make_tokens(15, dtype=torch.float64), plain_weights(coder)
    dead = torch.zeros(40, dtype=torch.bool)
    dead[torch.randperm(40, generator=torch.Generator().manual_seed(0))[:dead_latents]] = True
    loss, expected = coder(x, dead_mask=dead).auxk_loss, plain_auxk(coder, weights, x, dead)
    assert loss > 0
    torch.testing.assert_close(loss, expected, **TOLERANCE[torch.float64])
    loss.backward()
    expected.backward()
    for name in ("encoder.weight", "encoder.bias", "W_dec"):
        grad = coder.get_parameter(name).grad
        torch.testing.assert_close(grad, weights[name].grad, msg=name, **TOLERANCE[torch.float64])
        assert not grad[~dead].any(), f"AuxK moves living latents through {name}"
        assert grad[dead].any()
    assert coder.b_dec.grad is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_auxk_is_zero_without_dead_latents(variant):
    coder, x = make_coder(variant=variant), make_tokens(15)
    assert coder(x, dead_mask=torch.zeros(40, dtype=torch.bool)).auxk_loss == 0


# ---- decoder rows


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_new_coder_has_unit_decoder_rows_along_its_encoder_rows(variant):
    coder = SparseCoder(12, SparseCoderConfig(variant=variant, k=2, expansion_factor=3))
    assert coder.W_dec.shape == coder.encoder.weight.shape == (36, 12)
    torch.testing.assert_close(coder.W_dec.norm(dim=1), torch.ones(36))
    cosine = torch.nn.functional.cosine_similarity(coder.W_dec, coder.encoder.weight)
    torch.testing.assert_close(cosine, torch.ones(36))
    assert not coder.encoder.bias.any()
    assert not coder.b_dec.any()


def test_a_zero_decoder_row_stays_finite():
    coder = make_coder()
    coder.W_dec.data[3] = 0
    coder.set_decoder_norm_to_unit_norm()
    assert torch.isfinite(coder.W_dec).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_part_of_the_gradient_across_decoder_rows_remains(variant):
    coder = make_coder(variant=variant, dtype=torch.float64)
    coder(make_tokens(30, dtype=torch.float64)).fvu.backward()
    before = coder.W_dec.grad.clone()
    coder.remove_gradient_parallel_to_decoder_directions()
    along = (before * coder.W_dec).sum(dim=1, keepdim=True)
    assert along.abs().max() > 1e-3
    torch.testing.assert_close(coder.W_dec.grad, before - along * coder.W_dec)
    assert (coder.W_dec.grad * coder.W_dec).sum(dim=1).abs().max() < 1e-14


def test_removing_a_gradient_that_is_not_there_does_nothing():
    coder = make_coder()
    coder.remove_gradient_parallel_to_decoder_directions()
    assert coder.W_dec.grad is None


# ---- on disk


@pytest.mark.parametrize("scale", [1.0, 0.05, 7.0])
@pytest.mark.parametrize("choice", CHOICES)
def test_a_saved_coder_loads_as_the_same_function(choice, scale, tmp_path):
    coder, x = make_coder(scale=scale, **CHOICES[choice]), make_tokens(50)
    before = {name: value.clone() for name, value in coder.state_dict().items()}
    coder.save_to_disk(tmp_path / "new" / "coder")
    loaded = SparseCoder.load_from_disk(str(tmp_path / "new" / "coder"))
    assert (loaded.cfg, loaded.d_in, loaded.input_scale) == (coder.cfg, 10, 1.0)
    ours, theirs = coder(x), loaded(x)
    torch.testing.assert_close(theirs.sae_out, ours.sae_out, **TOLERANCE[torch.float32])
    torch.testing.assert_close(theirs.latent_acts * scale, ours.latent_acts, rtol=1e-4, atol=1e-5)
    assert torch.equal(theirs.latent_indices, ours.latent_indices)
    assert coder.input_scale == scale
    assert all(torch.equal(value, before[name]) for name, value in coder.state_dict().items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_cfg_json_says_what_the_coder_is(variant, tmp_path):
    make_coder(variant=variant, scale=0.25).save_to_disk(tmp_path)
    assert json.loads((tmp_path / "cfg.json").read_text()) == {
        "activation": variant,
        "variant": variant,
        "expansion_factor": 32,
        "num_latents": 40,
        "k": 3,
        "d_in": 10,
        "normalize_decoder": True,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "detach_residual": False,
        "trained_input_scale": 0.25,
    }
    shapes = {name: list(value.shape) for name, value in load_file(tmp_path / "sae.safetensors").items()}
    assert shapes == {"W_dec": [40, 10], "b_dec": [10], "encoder.bias": [40], "encoder.weight": [40, 10]}


# ---- beside sparsify


@pytest.fixture(scope="module")
def sparsify() -> ModuleType:
    """The installed sparsify, told to leave Triton alone: there may be no GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSIFY_DISABLE_TRITON", "1")
        return importlib.import_module("sparsify")


@pytest.mark.parametrize("scale", [1.0, 0.05, 7.0])
def test_sparsify_loads_a_topk_coder_as_the_same_function(scale, sparsify, tmp_path):
    coder, x = make_coder(scale=scale), make_tokens(50)
    coder.save_to_disk(tmp_path)
    theirs = sparsify.SparseCoder.load_from_disk(tmp_path)(x)
    torch.testing.assert_close(theirs.sae_out, coder(x).sae_out, **TOLERANCE[torch.float32])
    torch.testing.assert_close(theirs.fvu, coder(x).fvu, **TOLERANCE[torch.float32])


def make_sparsify_coder(sparsify: ModuleType, **config: object) -> torch.nn.Module:
    coder = sparsify.SparseCoder(10, sparsify.SparseCoderConfig(k=3, expansion_factor=4, **config))
    generator = torch.Generator().manual_seed(3)
    for bias in (coder.encoder.bias, coder.b_dec):
        bias.data = 0.2 * torch.randn(bias.shape, generator=generator)
    return coder


def test_a_topk_coder_of_sparsify_loads_as_the_same_function(sparsify, tmp_path):
    theirs, x = make_sparsify_coder(sparsify), make_tokens(50)
    theirs.save_to_disk(tmp_path)
    ours = SparseCoder.load_from_disk(tmp_path)
    assert ours.cfg == SparseCoderConfig(variant="topk", expansion_factor=4, k=3)
    torch.testing.assert_close(ours(x).sae_out, theirs(x).sae_out, **TOLERANCE[torch.float32])


@pytest.mark.parametrize("dead_latents", [2, 30], ids=["few-dead", "many-dead"])
def test_auxk_equals_that_of_sparsify(dead_latents, sparsify, tmp_path):
    coder, x = make_coder(), make_tokens(50)
    coder.save_to_disk(tmp_path)
    dead = torch.arange(40) < dead_latents
    theirs = sparsify.SparseCoder.load_from_disk(tmp_path)(x, dead_mask=dead)
    torch.testing.assert_close(coder(x, dead_mask=dead).auxk_loss, theirs.auxk_loss, **TOLERANCE[torch.float32])


def test_sparsify_refuses_a_matching_pursuit_coder(sparsify, tmp_path):
    make_coder(variant="mp").save_to_disk(tmp_path)
    with pytest.raises(TypeError, match=r"'topk'.* got mp"):
        sparsify.SparseCoder.load_from_disk(tmp_path)


FOREIGN = {
    "skip": ({"skip_connection": True}, r"skip_connection True in \S+cfg\.json: only False can be loaded"),
    "transcoder": ({"transcode": True}, r"transcode True in \S+cfg\.json: only False can be loaded"),
    "free-norm": ({"normalize_decoder": False}, r"normalize_decoder False in \S+cfg\.json: only True can be loaded"),
    "groupmax": ({"activation": "groupmax"}, r"variant 'groupmax': allowed are topk, mp"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_coders_of_sparsify_are_refused_in_one_line(kind, sparsify, tmp_path):
    config, message = FOREIGN[kind]
    make_sparsify_coder(sparsify, **config).save_to_disk(tmp_path)
    with pytest.raises(ValueError, match=f"^{message}$"):
        SparseCoder.load_from_disk(tmp_path)


# ---- configuration

BAD_CONFIGS = {
    "variant": ({"variant": "relu"}, "variant 'relu': allowed are topk, mp"),
    "k": ({"k": 0}, "k 0: must be 1 or more"),
    "expansion_factor": ({"expansion_factor": -2}, "expansion_factor -2: must be 1 or more"),
    "num_latents": ({"num_latents": -1}, "num_latents -1: must be 1 or more, or 0 to use expansion_factor"),
    "detach_residual": (
        {"detach_residual": True},
        "detach_residual True: only variant mp has residuals, not topk",
    ),
}


@pytest.mark.parametrize("field", BAD_CONFIGS)
def test_bad_config_values_are_named_with_what_is_allowed(field):
    config, message = BAD_CONFIGS[field]
    with pytest.raises(ValueError, match=f"^{message}$"):
        SparseCoderConfig(**config)


@pytest.mark.parametrize("variant", VARIANTS)
def test_more_active_latents_than_there_are_is_an_error(variant):
    cfg = SparseCoderConfig(variant=variant, expansion_factor=2, k=9)
    with pytest.raises(ValueError, match=r"^k 9: must be at most the number of latents, 8$"):
        SparseCoder(4, cfg)
    assert SparseCoder(5, cfg).num_latents == 10


def test_num_latents_goes_before_expansion_factor():
    assert SparseCoderConfig(num_latents=40, expansion_factor=2).latents(8) == 40
    assert SparseCoderConfig(expansion_factor=5).latents(8) == 40


@pytest.mark.parametrize("shape", [(3, 11), (3, 1), (3, 1, 10), (10,)], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_inputs_and_targets_of_another_shape_are_refused(variant, shape):
    coder, fitting = make_coder(variant=variant), torch.zeros(3, 10)
    for call in (coder, coder.encode):
        with pytest.raises(ValueError, match=rf"^x has shape {re.escape(str(list(shape)))}; expected \[rows, 10\]$"):
            call(torch.zeros(shape))
    with pytest.raises(ValueError, match=rf"^y has shape {re.escape(str(list(shape)))}; expected \[3, 10\]$"):
        coder(fitting, torch.zeros(shape))


def test_a_foreign_kernels_package_is_named(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").touch()
    (tmp_path / "models").symlink_to(Path(__file__).parents[1] / "models")
    failed = subprocess.run(
        [sys.executable, "-c", "import models"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    last_line = failed.stderr.splitlines()[-1]
    assert last_line.startswith("ImportError: another package named `kernels` hides this project's")
    assert str(tmp_path / "kernels") in last_line


# ---- evaluation


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


@pytest.mark.parametrize("massive", MASSIVE)
@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluation_equals_direct_computation(variant, massive):
    coder, x, massive_B = make_coder(variant=variant, scale=0.4), make_tokens(60), MASSIVE[massive]
    x[massive_B] *= 30
    coder.encoder.bias.data -= 1.5  # some tokens stop before k
    evaluation = Evaluation(coder)
    for x_part, massive_part in zip(x.split(25), massive_B.split(25), strict=True):
        evaluation.add(x_part, massive_part)
    with torch.no_grad():
        out, acts, _ = plain_forward(coder, plain_weights(coder), x.double())
    ordinary = ~massive_B
    assert massive == "all" or (acts == 0).any()
    assert evaluation.metrics() == pytest.approx(
        {
            "val/fvu": float(plain_fvu(x[ordinary].double(), out[ordinary])),
            "val/fvu_with_massive": float(plain_fvu(x.double(), out)),
            "val/tokens": int(ordinary.sum()),
            "val/massive_tokens": int(massive_B.sum()),
            "l0": int((acts > 0).sum()) / 60,
        },
        rel=1e-5,
        nan_ok=True,
    )


def test_evaluation_of_nothing_has_no_figures():
    evaluation = Evaluation(make_coder())
    empty = {"val/tokens": 0, "val/massive_tokens": 0}
    nothing = dict.fromkeys(["val/fvu", "val/fvu_with_massive", "l0"], float("nan")) | empty
    assert evaluation.metrics() == pytest.approx(nothing, nan_ok=True)
    evaluation.add(torch.zeros(0, 10), torch.zeros(0, dtype=torch.bool))
    assert evaluation.metrics() == pytest.approx(nothing, nan_ok=True)


def test_evaluation_leaves_no_graph():
    coder = make_coder(variant="mp")
    evaluation = Evaluation(coder)
    evaluation.add(make_tokens(8), torch.zeros(8, dtype=torch.bool))
    assert not evaluation.with_massive.total_D.requires_grad
    assert all(parameter.grad is None for parameter in coder.parameters())
