"""Held-out text as scores see it, without Ray: shards computed in this process when they are asked for."""

from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.activations.extractor import Extractor
from orchestrator.activations.shards import Shard
from orchestrator.activations.tables import ShardSpec, open_shard
from orchestrator.text.python_docs import python_docs


def tokens_of_prose(tokenizer: Any, sequences: int, length: int) -> np.ndarray:
    """English, int32 [N, L]."""
    ids: list[int] = []
    for text in python_docs():
        ids += tokenizer(text, verbose=False)["input_ids"]
        if len(ids) >= sequences * length:
            break
    return np.array(ids[: sequences * length], np.int32).reshape(sequences, length)


class LocalShards:
    """Reads one hookpoint's held-out shards."""

    def __init__(self, model: Path, hookpoints: tuple[str, ...], tokens_NL: np.ndarray, blocks: int) -> None:
        self.extractor = Extractor(ShardSpec(str(model), "here", hookpoints, "float16"), None, 1)
        self.tokens_NL, self.blocks = tokens_NL, blocks
        self.kept: dict[int, Shard] = {}

    def read(self, split: str, index: int, upcoming: list[int]) -> Shard:
        """One shard; a second hookpoint is the target."""
        if index not in self.kept:
            first = index * self.blocks
            *tables, _ = self.extractor.extract(self.tokens_NL[first : first + self.blocks], first)
            self.kept[index] = open_shard(*tables, exclude_first=True, massive_multiple=10.0)
        return self.kept[index]
