"""What a configuration says of a model: which class loads it, and its text part without weights.

Of a model for text and images only the text part is used. Its modules have the names they have in a model for text
alone: `layers.10`, not `language_model.layers.10`.
"""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn

_TABLE_SIZES = {"ctrl": "n_positions", "mpt": "max_seq_len"}
"""Architectures whose table of positions is neither a parameter nor a buffer, and the field that has its size."""

# The classes that load a checkpoint whole, tried in this order.
LOADERS = (transformers.AutoModelForCausalLM, transformers.AutoModelForImageTextToText)


def config_of(source: dict[str, Any]) -> Any:
    """The configuration at `from_pretrained`'s arguments. Raises ValueError where its code is not transformers' own."""
    return transformers.AutoConfig.from_pretrained(**source, trust_remote_code=False)


def loader_of(config: Any) -> Any:
    """The auto class that loads checkpoints of this configuration. Raises ValueError where none does."""
    for loader in LOADERS:
        if type(config) in loader._model_mapping:
            return loader
    raise ValueError(f"its model_type {config.model_type!r} is not that of a model that predicts the next token")


def builder(config: Any) -> Callable[[], nn.Module]:
    """Makes the text part, head included, from the configuration alone. Raises ValueError."""
    loader_of(config)
    text = config.get_text_config()
    known = type(text) in transformers.AutoModelForCausalLM._model_mapping
    auto = transformers.AutoModelForCausalLM if known else transformers.AutoModel

    # bfloat16, because some mixture-of-experts operations know the shapes of no other dtype.
    def build() -> nn.Module:
        built: nn.Module = auto.from_config(text, dtype=torch.bfloat16, trust_remote_code=False)
        return built

    return build


def text_model(model: Any) -> Any:
    """The module whose submodules are hookpoints: the text part of a model, without its head."""
    composite = model.config.get_text_config() is not model.config
    return (model.get_decoder() if composite else model).base_model


def positions_of(model: Any) -> int | None:
    """How many positions the text part has a table for, learned or computed once; None where it has no table."""
    tokens = model.get_input_embeddings()
    learned = [
        module.num_embeddings - _rows_kept_free(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module is not tokens and _names_positions(name)
    ]
    computed = [len(table) for name, table in model.named_buffers() if name.endswith("embed_positions")]  # GPT-J
    plain = getattr(model.config, _TABLE_SIZES.get(model.config.model_type, ""), None)
    return min(learned + computed + ([] if plain is None else [int(plain)]), default=None)


def _rows_kept_free(module: nn.Embedding) -> int:
    """OPT and BART keep the first rows free; RoBERTa those up to that of its padding."""
    offset = getattr(module, "offset", None)
    if offset is not None:
        return int(offset)
    return 0 if module.padding_idx is None else module.padding_idx + 1


def _names_positions(name: str) -> bool:
    path, _, last = name.lower().rpartition(".")
    if "image" in path or "vision" in path:  # of what a model has beside text
        return False
    return last in ("wpe", "positions_embed") or "position" in last
