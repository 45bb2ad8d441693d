"""Every variant of the registry against its definition in float64: outputs, gradients, rows of fixed length."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import VARIANTS
from models.training import TrainConfig, Trainer
from tests.support.coders import TOLERANCE, TRANSCODERS, make_coder, make_target, make_tokens, make_twins
from tests.support.definitions import plain_encode, plain_forward, plain_weights
from tests.support.variants import SETTINGS, assert_equals_the_definition, unit_parameters

# --- forward and gradients ---


SHAPES = {
    "ordinary": (17, 10, 60, 5),
    "k=1": (11, 8, 30, 1),
    "k=M": (7, 4, 9, 9),
    "B=1": (1, 10, 60, 5),
    "M=257": (5, 6, 257, 7),
    "d=1": (9, 1, 5, 2),
    "uneven slices": (6, 5, 23, 4),
    "twins": (9, 8, 28, 5),
}
"""Tokens, width, latents, k."""


@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.37, 2.5)], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_and_every_gradient_equal_the_definition(variant, shape, scales):
    tokens, width, latents, k = SHAPES[shape]
    coder = make_coder(
        width, variant=variant, num_latents=latents, k=k,
        scale=scales[0], target_scale=scales[1], dtype=torch.float64,
    )  # fmt: skip
    if shape == "twins":
        make_twins(coder)
    x, y = make_tokens(tokens, width, dtype=torch.float64), make_target(variant, tokens, width, dtype=torch.float64)
    x[-1] = 0
    assert_equals_the_definition(coder, x, y, ties=shape == "twins", tolerance=1e-7 if variant == "omp" else 1e-9)


@pytest.mark.parametrize(
    "variant", [name for name, r in VARIANTS.items() if r.choice == "pursuit" and r.refit == "none" and not r.study]
)
def test_detached_residuals_give_the_gradients_of_the_definition(variant):
    coder = make_coder(variant=variant, detach_residual=True, scale=0.4, dtype=torch.float64)
    x = make_tokens(20, dtype=torch.float64)
    assert_equals_the_definition(coder, x, make_target(variant, 20, dtype=torch.float64))
    free = make_coder(variant=variant, scale=0.4, dtype=torch.float64)
    for each in (coder, free):
        each.zero_grad()
        each(x, make_target(variant, 20, dtype=torch.float64)).fvu.backward()
    assert not torch.allclose(coder.W_dec.grad, free.W_dec.grad) or coder.cfg.recipe.subtraction != "decoder"


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_is_close_to_float64(variant):
    coder, x = make_coder(variant=variant, scale=0.4, target_scale=3.0), make_tokens(64)
    expected, acts, _ = plain_forward(coder, plain_weights(coder), x.double())
    out = coder(x, make_target(variant, 64))
    torch.testing.assert_close(out.sae_out.double(), expected, rtol=1e-5, atol=3e-5)
    torch.testing.assert_close(out.latent_acts.double(), acts, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("variant", [name for name, recipe in VARIANTS.items() if not recipe.study])
def test_inputs_at_the_centre_activate_no_latent_without_a_positive_bias(variant):
    coder = make_coder(variant=variant, scale=0.5)
    if coder.encoder is not None:
        coder.encoder.bias.data.fill_(-0.5)
    centre = coder.b_in if variant in TRANSCODERS else coder.b_dec
    x = torch.zeros(4, 10) if centre is None else (centre / coder.input_scale).detach().expand(4, -1)
    out = coder(x)
    assert not out.latent_acts.any()
    written = torch.zeros(10) if coder.b_dec is None else coder.b_dec
    skipped = 0 if coder.W_skip is None else (x * coder.input_scale) @ coder.W_skip.T
    torch.testing.assert_close(out.sae_out, (written + skipped).expand(4, -1) / coder.output_scale)
    out.sae_out.sum().backward()
    assert not coder.W_dec.grad.any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_inputs_and_weights_of_zero_are_finite(variant):
    coder = make_coder(variant=variant)
    for parameter in coder.parameters():
        parameter.data[parameter.shape[0] // 2 :] = 0
    coder(torch.zeros(5, 10)).sae_out.pow(2).sum().backward()
    coder(make_tokens(5)).sae_out.pow(2).sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in coder.parameters())
    coder.set_decoder_norm_to_unit_norm()
    assert all(torch.isfinite(p).all() for p in coder.parameters())


@pytest.mark.parametrize("scale", [1.0, 3.0], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_decoding_what_was_encoded_gives_the_output_of_forward(variant, scale):
    coder, x = make_coder(variant=variant, scale=scale, target_scale=0.2, k=6), make_tokens(40)
    out, encoded = coder(x), coder.encode(x)
    assert torch.equal(encoded.latent_acts, out.latent_acts)
    assert torch.equal(encoded.latent_indices, out.latent_indices)
    decoded = coder.decode(encoded.latent_acts, encoded.latent_indices, x)
    torch.testing.assert_close(decoded, out.sae_out, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("variant", [name for name, recipe in VARIANTS.items() if recipe.skip])
def test_a_skip_connection_decodes_with_its_input_or_not_at_all(variant):
    coder, x = make_coder(variant=variant), make_tokens(4)
    encoded = coder.encode(x)
    with pytest.raises(ValueError, match=rf"^x None: variant {variant} has a skip connection and decodes with .*$"):
        coder.decode(encoded.latent_acts, encoded.latent_indices)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_shared_gram_changes_nothing(variant):
    coder, x = make_coder(40, variant=variant, num_latents=48, k=4), make_tokens(50, 40)
    gram = coder.gram(len(x))
    recipe = coder.cfg.recipe
    per_step = recipe.sliced or recipe.step_decoders
    assert (gram is None) == (recipe.choice == "topk" or recipe.refit != "none" or per_step)
    torch.testing.assert_close(coder(x[:7], gram=gram).sae_out, coder(x[:7]).sae_out, **TOLERANCE[torch.float32])


# --- rows of length 1 ---


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_gradients_across_unit_rows_remain_and_others_are_left_alone(variant):
    coder = make_coder(variant=variant, dtype=torch.float64)
    generator = torch.Generator().manual_seed(5)
    before = {name: torch.randn(p.shape, generator=generator).double() for name, p in coder.named_parameters()}
    for name, parameter in coder.named_parameters():
        parameter.grad = before[name].clone()
    coder.remove_gradient_parallel_to_decoder_directions()
    for name, parameter in coder.named_parameters():
        if name not in unit_parameters(coder):
            assert torch.equal(parameter.grad, before[name]), name
            continue
        along = (before[name] * parameter).sum(dim=-1, keepdim=True)
        assert along.abs().max() > 1, name
        torch.testing.assert_close(parameter.grad, before[name] - along * parameter)
        assert (parameter.grad * parameter).sum(dim=-1).abs().max() < 1e-13


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_unit_rows_are_brought_to_length_one(variant):
    coder = make_coder(variant=variant)
    for parameter in coder.parameters():
        parameter.data *= 3
    before = {name: p.detach().clone() for name, p in coder.named_parameters()}
    coder.set_decoder_norm_to_unit_norm()
    for name, parameter in coder.named_parameters():
        held = name in unit_parameters(coder)
        torch.testing.assert_close(parameter.detach(), before[name] / 3 if held else before[name])


@pytest.mark.parametrize("variant", VARIANTS)
def test_removing_a_gradient_that_is_not_there_does_nothing(variant):
    coder = make_coder(variant=variant)
    coder.remove_gradient_parallel_to_decoder_directions()
    assert all(parameter.grad is None for parameter in coder.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_steps_keep_unit_rows_and_turn_them(variant):
    trainer = Trainer(make_coder(variant=variant), TrainConfig(steps=20, warmup_steps=0, lr=0.05))
    free = {name for name, _ in trainer.coder.named_parameters()} - unit_parameters(trainer.coder)
    for step in range(3):
        x, before = make_tokens(40, seed=step), {n: p.detach().clone() for n, p in trainer.parameters.items()}
        trainer.step(x, make_target(variant, 40))
        for name in unit_parameters(trainer.coder):
            row = trainer.parameters[name]
            torch.testing.assert_close(row.norm(dim=-1), torch.ones(row.shape[:-1]), rtol=0, atol=1e-6)
            assert (row.grad * before[name]).sum(dim=-1).abs().max() < 1e-5 * (1 + row.grad.norm())
            assert not torch.equal(row, before[name])
    for name in free & {"W_dec", "encoder.weight"}:
        assert (trainer.parameters[name].norm(dim=-1) - 1).abs().max() > 0.01, name


# --- another k at inference, and tokens that stop early ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@SETTINGS
@given(
    seed=st.integers(0, 2**31), width=st.sampled_from([1, 4, 16]), latents=st.sampled_from([1, 7, 65]),
    scale=st.sampled_from([1.0, 0.02, 30.0]), threshold=st.sampled_from([0.0, 0.0, 1.0, 3.0]),
)  # fmt: skip
def test_tied_pursuits_of_fewer_steps_are_prefixes_and_never_worse(dtype, seed, width, latents, scale, threshold):
    k_max = min(latents, 6)
    coder = make_coder(
        width, variant="mp-tied", num_latents=latents, k=1, residual_threshold=threshold,
        scale=scale, seed=seed, dtype=dtype,
    )  # fmt: skip
    x = make_tokens(9, width, dtype=dtype, seed=seed + 1)
    x[0] = 0
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    size = x.norm(dim=1) + coder.b_dec.detach().norm() / scale
    longest = coder.encode(x, k=k_max).latent_acts.detach()
    last = torch.full((9,), torch.inf, dtype=dtype)
    for k in range(1, k_max + 1):
        encoded = coder.encode(x, k=k)
        acts = encoded.latent_acts.detach()
        assert ((acts - longest[:, :k]).abs() <= tolerance * (scale * size)[:, None]).all()
        error = (coder.decode(acts, encoded.latent_indices).detach() - x).norm(dim=1)
        assert (error <= last + tolerance * size).all()
        stopped = last < threshold * (1 - tolerance)
        assert not acts[stopped, k - 1].any(), "a token within the threshold takes no more latents"
        going = last > threshold * (1 + tolerance) + tolerance * size
        centred = coder.input_scale * x - coder.b_dec.detach()
        if k == 1:
            going = centred.norm(dim=1) > threshold * scale * (1 + tolerance) + tolerance * size * scale
        positive = acts[:, k - 1] > 0
        could = (encoded.unexplained.detach() @ coder.W_dec.detach().T).amax(dim=1) > tolerance * size * scale
        assert (positive | ~going | ~could).all(), "a token beyond the threshold goes on while a score is positive"
        last = error


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_threshold_is_in_units_of_the_input(dtype):
    thresholds, fired = [1.0, 2.0, 4.0, 8.0], []
    x = make_tokens(200, dtype=dtype)
    for threshold in thresholds:
        unscaled = make_coder(variant="mp-tied", k=8, residual_threshold=threshold, dtype=dtype)
        scaled = make_coder(variant="mp-tied", k=8, residual_threshold=threshold, scale=0.05, dtype=dtype)
        scaled.b_dec.data *= 0.05
        larger = make_coder(variant="mp-tied", k=8, residual_threshold=10 * threshold, dtype=dtype)
        larger.b_dec.data *= 10
        counts = [(coder.encode(10 * x if coder is larger else x).latent_acts > 0).sum(dim=1)
                  for coder in (unscaled, scaled, larger)]  # fmt: skip
        assert torch.equal(counts[0], counts[1])
        assert torch.equal(counts[0], counts[2])
        out = unscaled(x)
        error = (out.sae_out - x).norm(dim=1)
        assert (error[counts[0] < 8] <= threshold * 1.0001).all()
        fired.append(float(counts[0].float().mean()))
    assert fired == sorted(fired, reverse=True)
    assert fired[-1] < fired[0] - 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_another_k_at_inference_equals_the_definition_or_is_refused(variant):
    coder, x = make_coder(variant=variant, k=3, dtype=torch.float64), make_tokens(9, dtype=torch.float64)
    assert torch.equal(coder.encode(x, k=3).latent_acts, coder.encode(x).latent_acts)
    for k in (1, 5):
        if coder.cfg.recipe.sliced or coder.cfg.recipe.step_decoders:
            with pytest.raises(
                ValueError, match=rf"^k {k}: must be 3 for variant {variant}, whose weights belong to .*$"
            ):
                coder.encode(x, k=k)
            continue
        acts, _, _ = plain_encode(coder, plain_weights(coder), x, k=k)
        torch.testing.assert_close(coder.encode(x, k=k).latent_acts, acts, rtol=1e-7, atol=1e-7)
    for k in (0, -1, 41):
        with pytest.raises(ValueError, match=rf"^k (is )?{k}[;:] [^\n]+$"):
            coder.encode(x, k=k)
