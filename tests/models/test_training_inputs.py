"""Batches and checkpoints that are none of a trainer's: one line says why, and nothing has changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.training import Trainer
from tests.support.trainers import WIDTH, make_batches, make_trainer, start, step, weights


def state_of(trainer: Trainer) -> list[Any]:
    """All that a training goes on from, copied."""
    adam = {name: dict(trainer.optimiser.state.get(p, {})) for name, p in trainer.parameters.items()}
    scales = (trainer.coder.input_scale, trainer.coder.target_scale)
    return [weights(trainer), adam, scales, trainer.step_count, trainer.silent_tokens.clone()]


# ---- batches

BATCHES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "no tokens": (lambda x: x[:0], rf"x has shape \[0, {WIDTH}\]; expected \[1 or more, {WIDTH}\]"),
    "sequences": (lambda x: x[None], rf"x has shape \[1, 64, {WIDTH}\]; expected \[1 or more, {WIDTH}\]"),
    "another width": (lambda x: x[:, 1:], rf"x has shape \[64, 15\]; expected \[1 or more, {WIDTH}\]"),
    "complex": (lambda x: x.to(torch.complex64), r"x is torch\.complex64; expected a tensor of real numbers"),
    "a list": (lambda x: x.tolist(), "x is list; expected a tensor of real numbers"),
    "another device": (lambda x: x.to("meta"), "x is on meta, the coder on cpu; move one of them"),
}


@pytest.mark.parametrize("case", BATCHES)
@pytest.mark.parametrize("use", [Trainer.step, Trainer.initialise], ids=["step", "initialise"])
def test_a_batch_that_does_not_fit_is_named(use: Callable[..., Any], case: str) -> None:
    change, message = BATCHES[case]
    (batch,), trainer = make_batches(1), make_trainer()
    before = state_of(trainer)
    with pytest.raises(ValueError, match=f"^{message}$"):
        use(trainer, change(batch))
    torch.testing.assert_close(state_of(trainer), before, rtol=0, atol=0)


@pytest.mark.parametrize("rows", [10, 32, 63])
def test_a_target_of_other_tokens_is_named_whatever_the_micro_batches(rows: int) -> None:
    (batch,), trainer = make_batches(1), make_trainer("sst", micro_batch_tokens=32)
    with pytest.raises(ValueError, match=rf"^y has shape \[{rows}, {WIDTH}\]; expected \[64, {WIDTH}\]$"):
        trainer.step(batch, batch[:rows])


def test_weights_in_half_precision_are_not_trained() -> None:
    trainer = make_trainer(dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"^the coder's weights are torch\.bfloat16; they must be float32 or float64"):
        trainer.initialise(make_batches(1)[0])


# ---- checkpoints


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a few steps of `mp`."""
    trainer, batches = make_trainer("mp"), make_batches(3)
    start(trainer, batches)
    for batch in batches:
        step(trainer, batch)
    trainer.save(tmp_path, {"shard": 1})
    return tmp_path


def rewritten(checkpoint: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = checkpoint / "training.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:90])


OTHERS = {"another variant": {"variant": "ito"}, "another k": {"k": 5}, "another size": {"num_latents": 65}}


@pytest.mark.parametrize("case", OTHERS)
def test_a_checkpoint_of_another_coder_is_refused(case: str, checkpoint: Path) -> None:
    """`ito` has the parameters of `mp`, and would go on from them."""
    trainer = make_trainer(**({"variant": "mp"} | OTHERS[case]))
    before = state_of(trainer)
    with pytest.raises(ValueError, match=r"^\S+training\.json: of another coder, \{'variant': 'mp', .*; this is \{"):
        trainer.restore(checkpoint)
    torch.testing.assert_close(state_of(trainer), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("other", "tensors"),
    [("mp-tied", r"coder\.encoder\.bias \[64\] \(expected None\), .*"), ("sst", r"coder\.W_skip None \(expected .*")],
)
def test_an_older_checkpoint_of_another_coder_is_known_by_its_weights(
    other: str, tensors: str, checkpoint: Path
) -> None:
    rewritten(checkpoint, lambda content: content.pop("coder"))
    trainer = make_trainer(other)
    before = state_of(trainer)
    with pytest.raises(ValueError, match=rf"^\S+training\.safetensors: of another coder than this {other}, {tensors}$"):
        trainer.restore(checkpoint)
    torch.testing.assert_close(state_of(trainer), before, rtol=0, atol=0)


def test_an_older_checkpoint_goes_on_as_a_newer_one(checkpoint: Path) -> None:
    newer, older, (batch,) = make_trainer("mp", seed=3), make_trainer("mp", seed=4), make_batches(1)
    with torch.random.fork_rng():
        assert newer.restore(checkpoint) == {"shard": 1}
        rewritten(checkpoint, lambda content: content.pop("coder"))
        assert older.restore(checkpoint) == {"shard": 1}
    assert newer.step(batch) == older.step(batch)
    torch.testing.assert_close(state_of(newer), state_of(older), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["training.json", "training.safetensors"])
def test_a_checkpoint_cut_short_is_named(name: str, checkpoint: Path) -> None:
    cut_short(checkpoint / name)
    trainer = make_trainer("mp")
    before = state_of(trainer)
    with pytest.raises(ValueError, match=rf"^\S+{name}: cut short or not a \w+ file \(.*\)$"):
        trainer.restore(checkpoint)
    torch.testing.assert_close(state_of(trainer), before, rtol=0, atol=0)
