"""Checkpoints of a trial in training."""

import contextlib
import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from orchestrator.storage.remote import Remote
from orchestrator.trials import checkpoints
from orchestrator.trials.checkpoints import MANIFEST, Checkpoints
from tests.support.trainers import make_batches, make_trainer, start, step, weights


def flip(file: Path) -> None:
    """One bit of the last weight, which no format notices."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: (path / "training.safetensors").write_bytes(b"1234"),
    "no JSON": lambda path: (path / "training.json").write_text("{", encoding="utf-8"),
    "a file is gone": lambda path: (path / "training.safetensors").unlink(),
    "a flipped bit": lambda path: flip(path / "training.safetensors"),
    "a manifest of another form": lambda path: (path / MANIFEST).write_text("[]", encoding="utf-8"),
    "a manifest that is deeply nested": lambda path: (path / MANIFEST).write_text("[" * 100_000, encoding="utf-8"),
    "a manifest of no file": lambda path: (path / MANIFEST).write_text('{"": ""}', encoding="utf-8"),
    "a manifest of a long name": lambda path: (path / MANIFEST).write_text(f'{{"{"x" * 5000}": ""}}', encoding="utf-8"),
    "a manifest that leads elsewhere": lambda path: (path / MANIFEST).write_text('{"../x": ""}', encoding="utf-8"),
    "empty": lambda path: [file.unlink() for file in path.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_dropped_with_a_warning(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, batches = make_trainer("mp"), make_batches(2)
    start(trainer, batches)
    step(trainer, batches[0])
    Checkpoints(tmp_path).write(trainer, {"position": 1})
    shutil.copytree(tmp_path / "step-00000001", tmp_path / "step-00000002")
    DAMAGES[damage](tmp_path / "step-00000002")

    again = make_trainer("mp", seed=5)
    assert Checkpoints(tmp_path).restore(again) == {"position": 1}, "the one before serves"
    torch.testing.assert_close(weights(again), weights(trainer), rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert "step-00000002" in caplog.text

    DAMAGES[damage](tmp_path / "step-00000001")
    fresh, untouched = make_trainer("mp", seed=5), make_trainer("mp", seed=5)
    assert Checkpoints(tmp_path).restore(fresh) is None
    torch.testing.assert_close(weights(fresh), weights(untouched), rtol=0, atol=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cursor", [{"shard": 1}, {"position": -1}, {"offset": 1.5}, {"epoch": True},
                                    {"train_seconds": "1"}, {"train_seconds": -1.0}])  # fmt: skip
def test_a_cursor_that_is_no_place_is_dropped(cursor: dict[str, object], tmp_path: Path) -> None:
    trainer, batches = make_trainer("topk"), make_batches(1)
    start(trainer, batches)
    Checkpoints(tmp_path).write(trainer, cursor)
    assert Checkpoints(tmp_path).restore(make_trainer("topk")) is None
    Checkpoints(tmp_path).write(trainer, {"epoch": 1, "position": 2, "train_seconds": 0.5})
    assert Checkpoints(tmp_path).restore(make_trainer("topk")) == {"epoch": 1, "position": 2, "train_seconds": 0.5}


def test_two_are_kept(tmp_path: Path) -> None:
    trainer, batches = make_trainer("topk"), make_batches(4)
    start(trainer, batches)
    kept = Checkpoints(tmp_path)
    for batch in batches:
        step(trainer, batch)
        kept.write(trainer, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]
    kept.remove()
    assert not list(tmp_path.iterdir())


def test_whatever_keeps_a_checkpoint_from_the_storage_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("what no disk says")

    monkeypatch.setattr(checkpoints, "push", fail)
    trainer, batches = make_trainer("topk"), make_batches(1)
    start(trainer, batches)
    kept = Checkpoints(tmp_path / "here", Remote.at(f"file://{tmp_path}/there"))
    kept.write(trainer, {})
    kept.remove()
    assert caplog.messages == ["checkpoint step-00000000 is on this machine alone: ValueError: what no disk says"]


REMOTE_DAMAGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "none": (lambda path: None, 2),
    "its copy was broken off": (lambda path: (path / MANIFEST).unlink(), 1),
    "a flipped bit": (lambda path: flip(path / "training.safetensors"), 1),
}


@pytest.mark.parametrize("damage", REMOTE_DAMAGES)
def test_the_newest_whole_one_is_found_at_an_address(damage: str, tmp_path: Path) -> None:
    """By a machine that has none of its own."""
    trainer, batches = make_trainer("mp"), make_batches(2)
    start(trainer, batches)
    there, at = tmp_path / "there", []
    for number, batch in enumerate(batches, start=1):
        step(trainer, batch)
        at.append(weights(trainer))
        one = Checkpoints(tmp_path / "here", Remote.at(f"file://{there}"))
        one.write(trainer, {"position": number})
        one._sender.shutdown()
    change, expected = REMOTE_DAMAGES[damage]
    change(there / "step-00000002")

    again = make_trainer("mp", seed=5)
    assert Checkpoints(tmp_path / "elsewhere", Remote.at(f"file://{there}")).restore(again) == {"position": expected}
    torch.testing.assert_close(weights(again), at[expected - 1], rtol=0, atol=0)


def test_what_is_wrong_with_the_process_drops_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is said of the checkpoint itself does."""
    trainer, batches = make_trainer("topk"), make_batches(1)
    start(trainer, batches)
    Checkpoints(tmp_path).write(trainer, {})
    for number, stays in ((errno.EMFILE, True), (errno.EIO, False)):

        def fail(file: Path, number: int = number) -> str:
            raise OSError(number, "said of it")

        monkeypatch.setattr(checkpoints, "_checksum", fail)
        with contextlib.nullcontext() if not stays else pytest.raises(OSError, match="said of it"):
            assert Checkpoints(tmp_path).restore(make_trainer("topk")) is None
        assert bool(list(tmp_path.iterdir())) == stays
