"""What tests of orchestrator/scores share: two models whose predictions depend on what they read."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BloomConfig, BloomForCausalLM

from orchestrator.language_models.loading import LanguageModel
from tests.support.openai_server import StartServer, servers


def with_opinions(directory: Path) -> Path:
    """Random weights are nearly 0, and so is all that a model makes of them."""
    weights = load_file(directory / "model.safetensors")
    weights = {name: weight * 8 if weight.ndim == 2 else weight for name, weight in weights.items()}
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


@pytest.fixture(scope="session")
def opinionated(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with tied embeddings."""
    return with_opinions(Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("opinionated") / "model")))


@pytest.fixture(scope="session")
def bloom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose layers return tuples, with tied embeddings."""
    directory = tmp_path_factory.mktemp("bloom")
    config = BloomConfig(
        vocab_size=100, hidden_size=32, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2, pad_token_id=3
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BloomForCausalLM(config).save_pretrained(directory)
    return with_opinions(directory)


@pytest.fixture(scope="session")
def tied(opinionated: Path) -> LanguageModel:
    """The Llama, loaded."""
    return LanguageModel.load(str(opinionated), "cpu", torch.float32)


@pytest.fixture(scope="session")
def tuples(bloom: Path) -> LanguageModel:
    """The model whose layers return tuples, loaded."""
    return LanguageModel.load(str(bloom), "cpu", torch.float32)


@pytest.fixture
def start() -> Iterator[StartServer]:
    """Starts servers of an LLM, which end with the test."""
    with servers() as begin:
        yield begin
