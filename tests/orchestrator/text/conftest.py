"""The packaged model's tokenizer."""

from typing import Any

import pytest

from orchestrator.language_models.loading import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer("packaged")
