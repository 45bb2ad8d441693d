"""Training steps on a GPU: the host waits for nothing, and a checkpoint continues. Skipped where there is none."""

from pathlib import Path

import pytest
import torch

from models import SparseCoder, SparseCoderConfig
from models.training import TrainConfig, Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
VARIANTS = ["mp", "mp-tied", "mp-sliced", "topk"]


def trainer_on_gpu(variant: str, auxk_alpha: float = 0.0) -> Trainer:
    torch.manual_seed(0)
    coder = SparseCoder(64, SparseCoderConfig(variant=variant, num_latents=1024, k=8), "cuda")
    cfg = TrainConfig(steps=20, warmup_steps=2, micro_batch_tokens=200, auxk_alpha=auxk_alpha, dead_window_tokens=600)
    return Trainer(coder, cfg)


@pytest.mark.parametrize("auxk_alpha", [0.0, 0.1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_host_waits_for_nothing_inside_a_step(variant: str, auxk_alpha: float) -> None:
    trainer, x_BD = trainer_on_gpu(variant, auxk_alpha), torch.randn(512, 64, device="cuda")
    trainer.initialise(x_BD)
    for _ in range(3):  # compiles kernels, and makes latents dead
        trainer.step(x_BD)
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = [trainer.step(x_BD) for _ in range(3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    trainer.raise_if_diverged()
    assert float(losses[-1]) < float(losses[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_continues(variant: str, tmp_path: Path) -> None:
    x_BD = torch.randn(512, 64, device="cuda")
    straight = trainer_on_gpu(variant)
    straight.initialise(x_BD)
    for _ in range(3):
        straight.step(x_BD)
    straight.save(tmp_path, {})
    restored = trainer_on_gpu(variant)
    restored.restore(tmp_path)
    torch.testing.assert_close(restored.step(x_BD), straight.step(x_BD), rtol=1e-5, atol=1e-6)
