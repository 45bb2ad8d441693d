"""The training loop's one step, and everything it must remember to continue exactly.

Recipe of the MP-SAE study: Adam, linear warm-up, linear decay to zero; loss is the batch's FVU, plus AuxK if asked.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.checkpoint import ADAM, STATE_FILE, WEIGHTS_FILE, read_checkpoint
from models.checks import check_operand, is_number, is_whole
from models.coder import SCALES, Coder, total_variance


class TrainingDiverged(RuntimeError):
    """The loss is no longer a number."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. Raises ValueError naming the field for values out of range."""

    steps: int
    """Optimiser steps in all; the learning rate reaches 0 after the last."""
    lr: float = 1e-3
    """Peak learning rate of Adam."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises linearly."""
    micro_batch_tokens: int = 1 << 14
    """Tokens that go through the coder at once; gradients of a batch accumulate over them."""
    auxk_alpha: float = 0.0
    """Weight of the AuxK loss; 0 leaves it out."""
    dead_window_tokens: int = 10_000_000
    """A latent is dead when it fired on none of this many last training tokens."""

    def __post_init__(self) -> None:
        for field in ("steps", "warmup_steps", "micro_batch_tokens", "dead_window_tokens"):
            if not is_whole(getattr(self, field)):
                raise ValueError(f"{field} {getattr(self, field)!r}: must be a whole number")
        for field in ("steps", "micro_batch_tokens", "dead_window_tokens"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} {getattr(self, field)}: must be 1 or more")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps}: must be from 0 to below the {self.steps} steps of a run"
            )
        if not (is_number(self.lr) and self.lr > 0):
            raise ValueError(f"lr {self.lr!r}: must be a positive number")
        if not (is_number(self.auxk_alpha) and self.auxk_alpha >= 0):
            raise ValueError(f"auxk_alpha {self.auxk_alpha!r}: must be 0 or a positive number")

    def lr_at(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0; 0 after the last."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        return self.lr * max(self.steps - step, 0) / (self.steps - self.warmup_steps)


class Trainer:
    """A coder, its optimiser and its counters; `step` trains on one batch, `save` and `restore` lose nothing."""

    def __init__(self, coder: Coder, cfg: TrainConfig) -> None:
        self.coder, self.cfg = coder, cfg
        self.parameters = dict(coder.named_parameters())
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=cfg.lr, fused=True)
        self.step_count = 0
        device = coder.W_dec.device
        self.silent_tokens = torch.zeros(coder.num_latents, dtype=torch.int64, device=device)
        """Training tokens since each latent last fired, [M]."""
        self._longest_silence = 0
        """No latent was silent for longer; known without asking the device."""
        self._last_loss = torch.zeros(2, dtype=torch.float64, device=device)
        """A step and its loss: the last one, or the first whose loss was no number."""

    @torch.no_grad()
    def initialise(self, x_BD: Tensor, y_BD: Tensor | None = None) -> None:
        """Centre the encoder, start `b_dec` at the mean of the target, scale inputs and targets to variance `d_in`.

        `y_BD` is a transcoder's target. Raises TrainingDiverged where activations do not vary or are not finite,
        ValueError where they are none of this coder's.
        """
        coder = self.coder
        y_BD = x_BD if y_BD is None else y_BD
        self._check_batch(x_BD, y_BD)
        coder.input_scale, coder.target_scale = self._scale(x_BD), self._scale(y_BD)
        if coder.b_dec is not None:
            coder.b_dec.copy_(y_BD.double().mean(dim=0) * coder.output_scale)
        if coder.cfg.recipe.transcode:
            centre_D = (x_BD.double().mean(dim=0) * coder.input_scale).to(coder.W_enc.dtype)
            if coder.b_in is not None:
                coder.b_in.copy_(centre_D)
            elif coder.b_enc is not None:
                coder.b_enc.copy_(-coder.W_enc @ centre_D)

    def _scale(self, sample_BD: Tensor) -> float:
        """Factor that gives tokens the variance `d_in`, so that one learning rate fits all."""
        variance = total_variance(sample_BD.double()) / len(sample_BD)
        if not (torch.isfinite(variance) and variance > 0):
            raise TrainingDiverged(f"the first activations have variance {float(variance)}; nothing to learn from")
        return float((self.coder.d_in / variance).sqrt())

    def _check_batch(self, x_BD: Tensor, y_BD: Tensor) -> None:
        """Both must be [B, D] of one token or more, as wide as the coder. Raises ValueError."""
        width = self.coder.d_in
        for name, value in (("x", x_BD), ("y", y_BD)):
            check_operand(name, value, self.coder.W_dec)
            if value.ndim != 2 or value.shape[1] != width or len(value) != len(x_BD) or not len(value):
                rows = "1 or more" if name == "x" else len(x_BD)
                raise ValueError(f"{name} has shape {list(value.shape)}; expected [{rows}, {width}]")

    def step(self, x_BD: Tensor, y_BD: Tensor | None = None) -> Tensor:
        """One optimiser step on a batch [B, D]; returns its FVU, float64 scalar, on the coder's device.

        `y_BD` is a transcoder's target, [B, D]. Nothing waits for a GPU; `raise_if_diverged` does. Raises ValueError
        for a batch that is none of this coder's.
        """
        self._check_batch(x_BD, x_BD if y_BD is None else y_BD)
        x_BD = x_BD.to(self.coder.W_dec.dtype)
        y_BD = x_BD if y_BD is None else y_BD.to(x_BD.dtype)
        for group in self.optimiser.param_groups:
            group["lr"] = self.cfg.lr_at(self.step_count)
        self.optimiser.zero_grad()
        loss, fvu, fired = self._backward(x_BD, y_BD)
        self.coder.remove_gradient_parallel_to_decoder_directions()
        self.optimiser.step()
        self.coder.set_decoder_norm_to_unit_norm()
        self.silent_tokens = torch.where(fired, 0, self.silent_tokens + len(x_BD))
        self._longest_silence += len(x_BD)
        this_step = torch.stack([loss.new_full((), self.step_count), loss])
        self._last_loss = torch.where(torch.isfinite(self._last_loss[1]), this_step, self._last_loss)
        self.step_count += 1
        return fvu

    def _backward(self, x_BD: Tensor, y_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of a batch; its loss and FVU, float64 scalars, and which latents fired, [M] bool."""
        variance, gram, dead_mask = total_variance(y_BD), self.coder.gram(len(x_BD)), None
        if self.cfg.auxk_alpha and self._longest_silence >= self.cfg.dead_window_tokens:
            dead_mask = self.silent_tokens >= self.cfg.dead_window_tokens
        loss = fvu = torch.zeros((), dtype=torch.float64, device=x_BD.device)
        latents = self.coder.num_latents
        fired = torch.zeros(latents + 1, dtype=torch.bool, device=x_BD.device)  # the last stands for none
        size = self.cfg.micro_batch_tokens
        for x_TD, y_TD in zip(torch.split(x_BD, size), torch.split(y_BD, size), strict=True):
            out = self.coder(x_TD, y_TD, dead_mask=dead_mask, variance=variance, gram=gram)
            micro_loss = out.fvu + self.cfg.auxk_alpha * out.auxk_loss
            micro_loss.backward()
            loss, fvu = loss + micro_loss.detach().double(), fvu + out.fvu.detach().double()
            active = torch.where(out.latent_acts.detach() != 0, out.latent_indices, latents)
            fired.index_fill_(0, active.flatten(), True)
        return loss, fvu, fired[:latents]

    def raise_if_diverged(self) -> None:
        """Raise TrainingDiverged, naming the step, where a loss was NaN or infinite; waits for the steps so far."""
        step, loss = self._last_loss.tolist()
        if not math.isfinite(loss):
            raise TrainingDiverged(f"loss became {loss} at step {int(step)}")

    def dead_pct(self) -> float:
        """Percentage of latents that fired on none of the last `dead_window_tokens` training tokens."""
        return 100 * float((self.silent_tokens >= self.cfg.dead_window_tokens).double().mean())

    def save(self, directory: Path, cursor: dict[str, Any]) -> None:
        """Write weights, optimiser, counters, random state and the data `cursor` into an existing directory.

        Raises TrainingDiverged, and writes nothing, where there is nothing to go on from.
        """
        self.raise_if_diverged()
        tensors: dict[str, Tensor] = {f"coder.{name}": value for name, value in self.parameters.items()}
        for name, parameter in self.parameters.items():
            state = self.optimiser.state.get(parameter, {})
            tensors |= {f"adam.{key}.{name}": state[key] for key in ADAM if state}
        tensors |= {"silent_tokens": self.silent_tokens, "rng": torch.get_rng_state()}
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, directory / WEIGHTS_FILE)
        scales = {"input_scale": self.coder.input_scale, "target_scale": self.coder.target_scale}
        content = {"step": self.step_count, **scales, "cursor": cursor, "coder": asdict(self.coder.cfg)}
        (directory / STATE_FILE).write_text(json.dumps(content), encoding="utf-8")

    def restore(self, directory: Path) -> dict[str, Any]:
        """Continue from what `save` wrote; returns the data cursor.

        Raises ValueError, and changes nothing, for files that are not whole or another coder's.
        """
        content, tensors = read_checkpoint(directory, self.coder, self.parameters)
        self.coder.load_state_dict({name: tensors[f"coder.{name}"] for name in self.parameters})
        self.coder.input_scale, self.coder.target_scale = (float(content[name]) for name in SCALES)
        self.step_count = content["step"]
        for name, parameter in self.parameters.items():
            if self.step_count:
                self.optimiser.state[parameter] = {key: tensors[f"adam.{key}.{name}"] for key in ADAM}
        self.silent_tokens = tensors["silent_tokens"]
        self._longest_silence = int(self.silent_tokens.max())
        self._last_loss.zero_()
        torch.set_rng_state(tensors["rng"].cpu())
        cursor: dict[str, Any] = content["cursor"]
        return cursor
