"""The training step: accumulation, schedule, scale, dead latents, what is learnt, golden curves."""

import pytest
import torch
from torch import Tensor

from models import VARIANTS
from models.evaluation import FvuSum
from models.training import TrainConfig, TrainingDiverged
from tests.support.trainers import (
    TRANSCODERS,
    WIDTH,
    make_batches,
    make_trainer,
    start,
    step,
    target_of,
    train,
    weights,
)

CURVES = ["topk", "mp"]
"""Variants whose learning is followed over many steps; what holds of single steps is tested of all."""


# ---- one step


@pytest.mark.parametrize("auxk_alpha", [0.0, 0.5], ids=["plain", "auxk"])
@pytest.mark.parametrize("micro_batch_tokens", [7, 49])
@pytest.mark.parametrize("variant", VARIANTS)
def test_micro_batches_add_up_to_their_batch(variant, micro_batch_tokens, auxk_alpha):
    batches = [batch.double() for batch in make_batches(3, tokens=50, d_in=40)]
    fvus, trainers = [], []
    for size in (1000, micro_batch_tokens):
        trainer = make_trainer(
            variant, d_in=40, num_latents=160 if VARIANTS[variant].sliced else 48, dtype=torch.float64,
            micro_batch_tokens=size, auxk_alpha=auxk_alpha, dead_window_tokens=50,
        )  # fmt: skip
        fvus.append(train(trainer, batches))
        trainers.append(trainer)
    whole, cut = trainers
    assert fvus[1] == pytest.approx(fvus[0], rel=1e-10)
    close = {"rtol": 1e-8, "atol": 1e-8}
    for name, parameter in whole.parameters.items():
        torch.testing.assert_close(cut.parameters[name].grad, parameter.grad, msg=name, **close)
        torch.testing.assert_close(cut.parameters[name], parameter, msg=name, **close)
    assert torch.equal(cut.silent_tokens, whole.silent_tokens)
    assert whole.dead_pct() > 0 or VARIANTS[variant].sliced  # every latent of a slice gets its turn


@pytest.mark.parametrize("variant", VARIANTS)
def test_micro_batches_add_up_in_float32(variant):
    gradients = []
    for size in (50, 7):
        trainer = make_trainer(variant, d_in=40, num_latents=48, micro_batch_tokens=size)
        train(trainer, make_batches(1, tokens=50, d_in=40))
        gradients.append([parameter.grad for parameter in trainer.parameters.values()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_micro_batches_share_a_gram_that_none_would_build_alone():
    coder = make_trainer("mp", d_in=40, num_latents=48, dtype=torch.float64).coder
    assert coder.gram(7) is None
    torch.testing.assert_close(coder.gram(50), coder.W_dec.detach() @ coder.encoder.weight.detach().T)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_of_a_step_is_that_of_the_fvu_of_its_batch(variant):
    trainer, (batch,) = make_trainer(variant, dtype=torch.float64), make_batches(1)
    batch = batch.double()
    start(trainer, [batch])
    step(trainer, batch)  # a transcoder's decoder starts at 0, and with it the gradient of its encoder
    out = trainer.coder(batch, target_of(trainer, batch))
    found = torch.autograd.grad(out.fvu, trainer.parameters.values(), allow_unused=True)
    expected = dict(zip(trainer.parameters, found, strict=True))
    units = [name for name in expected if is_unit(variant, name)]
    rows = {name: trainer.parameters[name].detach().clone() for name in units}
    for name in units:
        expected[name] = expected[name] - (expected[name] * rows[name]).sum(dim=-1, keepdim=True) * rows[name]
    assert step(trainer, batch) == pytest.approx(float(out.fvu.detach()), rel=1e-12)
    for name, parameter in trainer.parameters.items():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-9, atol=1e-12, msg=name)


def is_unit(variant: str, name: str) -> bool:
    """Whether rows of this parameter are held at length 1."""
    recipe = VARIANTS[variant]
    held = {
        "W_sub": True,
        "W_dec": not (recipe.transcode or recipe.free_decoder),
        "encoder.weight": recipe.unit_encoder,
    }
    return held.get(name, False)


@pytest.mark.parametrize("variant", VARIANTS)
def test_unit_rows_keep_their_length_and_are_only_turned(variant):
    trainer, batches = make_trainer(variant, lr=0.05), make_batches(8)
    start(trainer, batches)
    for batch in batches:
        before = weights(trainer)
        step(trainer, batch)
        for name in (name for name in before if is_unit(variant, name)):
            rows = trainer.parameters[name]
            along = (rows.grad * before[name]).sum(dim=-1).abs()
            assert along.max() <= 1e-6 * rows.grad.norm()
            torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:-1]), rtol=0, atol=1e-6)
            assert not torch.equal(rows, before[name]) or not rows.grad.any()
    for name in ("W_dec", "encoder.weight"):
        if name in trainer.parameters and not is_unit(variant, name):
            assert (trainer.parameters[name].norm(dim=-1) - 1).abs().max() > 0.05, name


def test_half_precision_batches_train_as_their_float32_values():
    batches = [(1000 * batch).half() for batch in make_batches(3)]
    as_float32 = train(make_trainer(), [batch.float() for batch in batches])
    assert train(make_trainer(), batches) == as_float32
    assert min(as_float32) > 0.01


# ---- schedule


def test_learning_rate_rises_over_the_warm_up_and_falls_to_zero():
    cfg = TrainConfig(steps=10, warmup_steps=4, lr=2.0)
    rates = [cfg.lr_at(step) for step in range(12)]
    assert rates == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 5 / 3, 4 / 3, 1.0, 2 / 3, 1 / 3, 0.0, 0.0])


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert TrainConfig(steps=4, warmup_steps=0, lr=1.0).lr_at(0) == 1.0


def test_steps_take_the_rate_of_the_schedule():
    trainer, batches = make_trainer(steps=8, warmup_steps=3, lr=0.01), make_batches(8)
    trainer.initialise(batches[0])
    for done, batch in enumerate(batches):
        before = trainer.coder.b_dec.detach().clone()
        trainer.step(batch)
        assert trainer.optimiser.param_groups[0]["lr"] == trainer.cfg.lr_at(done)
        if done == 0:  # Adam's first update is the rate times the gradient's sign
            moved = (trainer.coder.b_dec - before).abs()
            torch.testing.assert_close(moved, torch.full((WIDTH,), trainer.cfg.lr_at(0)), rtol=1e-3, atol=0)
    assert trainer.step_count == 8
    last = weights(trainer)
    trainer.step(batches[0])
    torch.testing.assert_close(weights(trainer), last, rtol=0, atol=1e-7)


# ---- scale of the input


@pytest.mark.parametrize("variant", VARIANTS)
def test_initialise_centres_and_scales(variant):
    trainer, sample = make_trainer(variant), 37 * torch.cat(make_batches(4)) + 5
    target = target_of(trainer, sample)
    start(trainer, [sample])
    coder, recipe = trainer.coder, VARIANTS[variant]
    scaled = sample * coder.input_scale
    assert float((scaled - scaled.mean(dim=0)).pow(2).sum(dim=1).mean()) == pytest.approx(WIDTH, rel=1e-5)
    output = sample if target is None else target
    mean = torch.zeros(WIDTH) if coder.b_dec is None else coder.b_dec.detach() / coder.output_scale
    expected = output.mean(dim=0) if recipe.centred else torch.zeros(WIDTH)
    torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-4)
    written = coder.decode(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, WIDTH))[0]
    torch.testing.assert_close(written.detach(), torch.zeros(WIDTH) if recipe.study else mean)
    if not recipe.transcode:
        return
    assert not coder.W_dec.any() and (coder.W_skip is None or not coder.W_skip.any())
    torch.testing.assert_close(coder(sample, target).fvu, torch.ones(()), rtol=1e-4, atol=0)
    shared = recipe.choice == "pursuit" and recipe.subtraction == "decoder"
    learned = target * (coder.input_scale if shared else coder.target_scale)
    torch.testing.assert_close(coder.b_dec.detach(), learned.mean(dim=0), rtol=1e-4, atol=1e-4)
    if not shared:
        assert float((learned - learned.mean(dim=0)).pow(2).sum(dim=1).mean()) == pytest.approx(WIDTH, rel=1e-4)
    centre = 0 if coder.b_in is None else coder.b_in.detach()
    scores = (scaled - centre) @ coder.encoder.weight.detach().T + coder.encoder.bias.detach()
    assert scores.mean(dim=0).abs().max() < 1e-4 * float(scores.abs().max())


@pytest.mark.parametrize("factor", [1e3, 1e-3])
@pytest.mark.parametrize("variant", CURVES)
def test_learning_does_not_depend_on_the_scale_of_the_input(variant, factor):
    curves = [
        train(make_trainer(variant, auxk_alpha=0.1, dead_window_tokens=200), [scale * x for x in make_batches(30)])
        for scale in (1.0, factor)
    ]
    assert curves[1] == pytest.approx(curves[0], abs=1e-4)
    assert curves[0][-1] < 0.7 * curves[0][0]


# ---- dead latents


def fire_only(*latents: int, tokens: int = 50) -> Tensor:
    """Tokens that lie along coordinate axes in turn."""
    rows = torch.eye(4)[list(latents)].repeat(tokens // len(latents), 1)
    return rows * torch.linspace(1, 2, len(rows))[:, None]


@pytest.mark.parametrize("variant", VARIANTS)
def test_latents_silent_over_the_window_count_as_dead(variant):
    """Latent j fires on the j-th axis alone, 4 + j on none; in the order that puts j < 4 into both of two slices."""
    trainer = make_trainer(variant, d_in=4, num_latents=8, k=2, lr=1e-7, dead_window_tokens=100)
    rows = torch.eye(4)[[0, 1, 2, 3]]
    order = [0, 1, 4, 5, 2, 3, 6, 7]  # slices of four: axes 0 and 1, and 2 and 3
    for name in {"encoder.weight", "W_dec", "W_sub"} & trainer.parameters.keys():
        trainer.parameters[name].data.copy_(torch.cat([rows, -rows])[order])
    seen = [trainer.dead_pct()]
    for axes in [(0,), (0, 1), (0,), (0,), (2,)]:
        batch = fire_only(*axes)
        trainer.step(batch, batch if variant in TRANSCODERS else None)
        seen.append(trainer.dead_pct())
    assert seen == [0, 0, 100 * 6 / 8, 100 * 6 / 8, 100 * 7 / 8, 100 * 6 / 8]
    silent = trainer.silent_tokens[[order.index(latent) for latent in range(8)]]
    assert silent.tolist() == [50, 150, 0, 250, 250, 250, 250, 250]


def dead_after_training(variant: str, auxk_alpha: float) -> tuple[float, float]:
    """Dead percentage and last FVU of a run where three quarters of the latents start out too weak to be chosen."""
    trainer = make_trainer(variant, lr=3e-3, steps=150, auxk_alpha=auxk_alpha, dead_window_tokens=320)
    trainer.coder.encoder.weight.data[16:] *= 0.02
    return train(trainer, make_batches(150))[-1], trainer.dead_pct()


@pytest.mark.parametrize("variant", CURVES)
def test_auxk_revives_dead_latents(variant):
    fvu, dead = dead_after_training(variant, auxk_alpha=0.0)
    fvu_with_auxk, dead_with_auxk = dead_after_training(variant, auxk_alpha=0.5)
    assert dead > 70
    assert dead_with_auxk < 0.8 * dead
    assert fvu_with_auxk < fvu


@pytest.mark.parametrize("variant", VARIANTS)
def test_auxk_changes_nothing_while_no_latent_is_dead(variant):
    runs = [make_trainer(variant, auxk_alpha=alpha) for alpha in (0.0, 1.0)]
    curves = [train(trainer, make_batches(5)) for trainer in runs]
    assert curves[0] == curves[1]
    torch.testing.assert_close(weights(runs[0]), weights(runs[1]), rtol=0, atol=0)


# ---- divergence


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")], ids=str)
@pytest.mark.parametrize("variant", CURVES)
def test_the_first_step_whose_loss_is_no_number_is_named_and_nothing_is_saved(variant, poison, tmp_path):
    trainer, batches = make_trainer(variant, micro_batch_tokens=20), make_batches(6)
    train(trainer, batches[:3])
    trainer.raise_if_diverged()
    batches[3][33, 2] = poison
    for batch in batches[3:]:
        step(trainer, batch)
    with pytest.raises(TrainingDiverged, match=r"^loss became nan at step 3$"):
        trainer.raise_if_diverged()
    with pytest.raises(TrainingDiverged, match=r"^loss became nan at step 3$"):
        trainer.save(tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_from_before_it_diverged_can_be_gone_on_from(tmp_path):
    trainer, batches = make_trainer(), make_batches(4)
    train(trainer, batches[:2])
    trainer.save(tmp_path, {})
    expected = step(trainer, batches[3])
    step(trainer, torch.full_like(batches[2], float("nan")))
    trainer.restore(tmp_path)
    assert step(trainer, batches[3]) == expected
    trainer.raise_if_diverged()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.0], ids=str)
def test_a_sample_without_variance_cannot_start_training(value):
    with pytest.raises(TrainingDiverged, match=r"^the first activations have variance (nan|0\.0); nothing to learn"):
        make_trainer().initialise(torch.full((20, WIDTH), value))


# ---- learning


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_hundred_steps_learn_what_holds_for_tokens_not_seen(variant):
    trainer, batches = make_trainer(variant, lr=2e-2), make_batches(104)
    train(trainer, batches[:100])
    held_out = torch.cat(batches[100:])
    target = target_of(trainer, held_out)
    target = held_out if target is None else target
    fvu = held_out_fvu(target, trainer.coder(held_out, target).sae_out.detach())
    # The study's refit moves on encoder rows, which free rows of the decoder soon are not.
    assert fvu < (0.95 if variant == "ito-study-free-decoder" else 0.45)
    if trainer.coder.W_skip is not None and not trainer.coder.cfg.recipe.one_scale:
        x = torch.cat([held_out, torch.ones(len(held_out), 1)], dim=1)
        assert fvu < held_out_fvu(target, x @ torch.linalg.lstsq(x, target).solution), "latents add to a linear map"


def held_out_fvu(target: Tensor, out: Tensor) -> float:
    sums = FvuSum()
    sums.add(target, out)
    return sums.fvu()


# ---- golden curves

GOLDEN_STEPS = [0, 5, 10, 20, 40, 79]
GOLDEN = {
    "topk": [0.4962, 0.4675, 0.4228, 0.3758, 0.3018, 0.3072],
    "mp": [0.4542, 0.4192, 0.3505, 0.2898, 0.2246, 0.2123],
}


@pytest.mark.parametrize("variant", CURVES)
def test_golden_curve(variant):
    curve = train(make_trainer(variant, steps=80, lr=5e-3), make_batches(80))
    assert [curve[step] for step in GOLDEN_STEPS] == pytest.approx(GOLDEN[variant], abs=1e-3)
