"""A tiny model and tokens for it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from orchestrator.language_models.loading import LanguageModel
from tests.support.language_models import L


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> LanguageModel:
    return LanguageModel.load(str(tiny_model), "cpu", torch.float32)


@pytest.fixture(scope="module")
def tokens_NL() -> Tensor:
    return torch.randint(0, 49152, (7, L), generator=torch.Generator().manual_seed(1))
