"""Checkpoints of a trial in training."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from orchestrator.trials import checkpoints
from tests.support.trainers import make_batches, make_trainer, start, step, weights

DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: (path / "training.safetensors").write_bytes(b"1234"),
    "no JSON": lambda path: (path / "training.json").write_text("{", encoding="utf-8"),
    "a file is gone": lambda path: (path / "training.safetensors").unlink(),
    "empty": lambda path: [file.unlink() for file in path.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_dropped_with_a_warning(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer, batches = make_trainer("mp"), make_batches(2)
    start(trainer, batches)
    step(trainer, batches[0])
    checkpoints.write(trainer, tmp_path, {"shard": 1})
    shutil.copytree(tmp_path / "step-00000001", tmp_path / "step-00000002")
    DAMAGES[damage](tmp_path / "step-00000002")

    again = make_trainer("mp", seed=5)
    assert checkpoints.restore(again, tmp_path) == {"shard": 1}, "the one before serves"
    torch.testing.assert_close(weights(again), weights(trainer), rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert "step-00000002" in caplog.text

    DAMAGES[damage](tmp_path / "step-00000001")
    fresh, untouched = make_trainer("mp", seed=5), make_trainer("mp", seed=5)
    assert checkpoints.restore(fresh, tmp_path) is None
    torch.testing.assert_close(weights(fresh), weights(untouched), rtol=0, atol=0)
    assert not list(tmp_path.iterdir())
