"""A run that was saved and restored continues bit for bit."""

from collections.abc import Iterator

import pytest
import torch

from models import VARIANTS
from tests.support.trainers import TRANSCODERS, make_batches, make_trainer, start, step, train


@pytest.fixture(autouse=True)
def own_random_state() -> Iterator[None]:
    """Restoring a run sets the random state; give back the one that was there."""
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("auxk_alpha", [0.0, 0.5], ids=["plain", "auxk"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_restored_run_continues_bit_for_bit(variant, auxk_alpha, tmp_path):
    options = {"auxk_alpha": auxk_alpha, "dead_window_tokens": 64, "micro_batch_tokens": 24, "num_latents": 160}
    batches, cursor = make_batches(10), {"shard": 3, "row": 17}
    straight = make_trainer(variant, **options)
    straight_fvus = train(straight, batches)
    straight_draw = torch.rand(3)

    interrupted = make_trainer(variant, **options)
    start(interrupted, batches)
    fvus = [step(interrupted, batch) for batch in batches[:4]]
    assert interrupted.dead_pct() > 0
    torch.manual_seed(11)
    interrupted.save(tmp_path, cursor)
    expected_draw = torch.rand(3)

    restored = make_trainer(variant, seed=99, **options)
    assert restored.restore(tmp_path) == cursor
    assert torch.equal(torch.rand(3), expected_draw)
    assert not torch.equal(straight_draw, expected_draw)
    for name, parameter in interrupted.parameters.items():
        assert torch.equal(restored.parameters[name], parameter)
    assert restored.coder.target_scale == straight.coder.target_scale
    assert (restored.coder.target_scale != restored.coder.input_scale) == (variant in TRANSCODERS)
    fvus += [step(restored, batch) for batch in batches[4:]]

    assert fvus == straight_fvus
    assert restored.step_count == straight.step_count == 10
    assert restored.coder.input_scale == straight.coder.input_scale
    assert torch.equal(restored.silent_tokens, straight.silent_tokens)
    for name, parameter in straight.parameters.items():
        assert torch.equal(restored.parameters[name], parameter), name
        theirs, ours = straight.optimiser.state[parameter], restored.optimiser.state[restored.parameters[name]]
        assert all(torch.equal(ours[key], theirs[key]) for key in ("step", "exp_avg", "exp_avg_sq")), name


def test_a_run_saved_before_its_first_step_can_be_restored(tmp_path):
    batches = make_batches(3)
    started = make_trainer()
    started.initialise(batches[0])
    started.save(tmp_path, {})
    restored = make_trainer(seed=5)
    assert restored.restore(tmp_path) == {}
    assert [restored.step(batch) for batch in batches] == [started.step(batch) for batch in batches]


def test_training_goes_on_unchanged_after_a_save(tmp_path):
    batches = make_batches(6)
    saved, unsaved = make_trainer("mp"), make_trainer("mp")
    for trainer in (saved, unsaved):
        trainer.initialise(batches[0])
    for batch in batches:
        assert saved.step(batch) == unsaved.step(batch)
        saved.save(tmp_path, {})


def test_a_checkpoint_may_be_deleted_once_restored(tmp_path):
    batches = make_batches(4)
    trainer = make_trainer()
    train(trainer, batches[:2])
    trainer.save(tmp_path, {})
    restored = make_trainer(seed=5)
    restored.restore(tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(b"\0" * file.stat().st_size)
        file.unlink()
    assert restored.step(batches[2]) == trainer.step(batches[2])
