"""Training steps on a GPU: the host waits for nothing (known where there is one alone), and a checkpoint continues."""

from pathlib import Path

import pytest
import torch

from models import SparseCoder, SparseCoderConfig
from models.training import TrainConfig, Trainer

pytestmark = pytest.mark.gpu
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOKENS, WIDTH, LATENTS = (512, 64, 1024) if DEVICE == "cuda" else (12, 16, 64)  # Triton's interpreter is slow
VARIANTS = ["mp", "mp-tied", "mp-sliced", "topk"]


def trainer_on_gpu(variant: str, auxk_alpha: float = 0.0) -> Trainer:
    torch.manual_seed(0)
    coder = SparseCoder(WIDTH, SparseCoderConfig(variant=variant, num_latents=LATENTS, k=8), DEVICE)
    cfg = TrainConfig(steps=20, warmup_steps=2, micro_batch_tokens=200, auxk_alpha=auxk_alpha, dead_window_tokens=600)
    return Trainer(coder, cfg)


@pytest.mark.skipif(DEVICE == "cpu", reason="only a GPU can be waited for")
@pytest.mark.parametrize("auxk_alpha", [0.0, 0.1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_host_waits_for_nothing_inside_a_step(variant: str, auxk_alpha: float) -> None:
    trainer, x_BD = trainer_on_gpu(variant, auxk_alpha), torch.randn(TOKENS, WIDTH, device=DEVICE)
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
def test_a_checkpoint_continues(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSUIT_BACKEND", "triton")
    x_BD = torch.randn(TOKENS, WIDTH, device=DEVICE)
    straight = trainer_on_gpu(variant)
    straight.initialise(x_BD)
    for _ in range(3):
        straight.step(x_BD)
    straight.save(tmp_path, {})
    restored = trainer_on_gpu(variant)
    restored.restore(tmp_path)
    torch.testing.assert_close(restored.step(x_BD), straight.step(x_BD), rtol=1e-5, atol=1e-6)
