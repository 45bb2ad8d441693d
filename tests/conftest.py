"""Fixtures that several tests share."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import torch

if TYPE_CHECKING:
    from tests.support.s3_server import S3Server

# The same examples every time, here and in CI, however long one takes; others with --hypothesis-profile=default
# --hypothesis-seed=N.
hypothesis.settings.register_profile(
    "same", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("same")
os.environ.pop("MLFLOW_TRACKING_URI", None)  # a person's own server is not for tests
os.environ["RAY_ADDRESS"] = "local"  # nor a cluster that `ray start`, or a test beside this one, has made here
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
signal.signal(signal.SIGINT, signal.default_int_handler)  # scripts under test inherit what nohup and `&` ignore
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined, so before anything imports one
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # it would launch its Triton decoder on CPU tensors


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a random four-layer Llama of width 32 and the tokenizer of the packaged model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from orchestrator.language_models.loading import load_tokenizer

    tokenizer = load_tokenizer("packaged")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    directory = tmp_path_factory.mktemp("tiny") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file of MLflow's: the migrations take seconds, a copy does not."""
    from mlflow import MlflowClient

    from orchestrator.tracking.addresses import default_uri

    directory = tmp_path_factory.mktemp("mlflow")
    MlflowClient(tracking_uri=default_uri(directory)).search_experiments()
    return directory / "mlflow.db"


@pytest.fixture
def storage(tmp_path: Path, empty_store: Path) -> Path:
    """A directory with an MLflow store of its own that has no runs yet."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["S3Server"]:
    from tests.support.s3_server import S3Server  # boto3 is not on machines that run tests of GPUs alone

    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()
