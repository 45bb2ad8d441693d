"""The prose in every Python installation."""

from pathlib import Path
from typing import Any

from orchestrator.text.config import TextConfig
from orchestrator.text.python_docs import python_docs
from orchestrator.text.sources import check_text
from orchestrator.text.token_blocks import tokenise


def test_python_docs_are_a_deterministic_mix(tmp_path: Path, tokenizer: Any) -> None:
    texts = [text for text, _ in zip(python_docs(), range(60), strict=False)]
    assert texts == [text for text, _ in zip(python_docs(), range(60), strict=False)]
    assert len(set(texts)) == 60 and min(map(len, texts)) >= 200
    assert any("****" in text for text in texts) and any("Return" in text for text in texts)  # topics and docstrings
    cfg = TextConfig(dataset="python-docs")
    check_text(cfg)
    blocks = tokenise(cfg, tokenizer, context_length=256, train_tokens=50_000, val_tokens=5_000, out_dir=tmp_path)
    assert blocks.train.shape == (195, 256) and blocks.val.shape == (19, 256)
