"""The actor that computes shards, without Ray and without a language model."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from orchestrator.activations import extractor
from orchestrator.activations.extractor import Extractor
from orchestrator.activations.tables import ShardSpec

TOKENS_NL = np.zeros((2, 4), dtype=np.int32)


def test_a_cache_that_cannot_be_read_costs_time_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(extractor, "read_table", refuse)
    extracts = Extractor(ShardSpec("model", "", ("a", "b"), "float32"), str(tmp_path), torch.get_num_threads())
    extracts.model = SimpleNamespace(capture=lambda tokens, names: {name: torch.ones(2, 4, 3) for name in names})
    for _ in range(2):
        *tables, summary = extracts.extract(TOKENS_NL, 0)
        assert [table.num_rows for table in tables] == [8, 8] and summary == {"computed": True}
    assert caplog.messages == [
        f"--cache-dir {tmp_path}: what cannot be read is computed again: [Errno 13] Permission denied"
    ]
