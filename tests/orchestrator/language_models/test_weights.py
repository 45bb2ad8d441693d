"""Checkpoints that fit though their names differ, parts of models, and failures that are not tried again."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)

from orchestrator.activations.extractor import Extractor
from orchestrator.activations.shards import ActivationError
from orchestrator.activations.tables import ShardSpec
from orchestrator.errors import UserError
from orchestrator.language_models.loading import LanguageModel, resolve_hookpoints

TEXT = {
    "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
TOKENS = torch.arange(24).reshape(2, 12)


def captured(model: Path, hookpoint: str) -> torch.Tensor:
    return LanguageModel.load(str(model), "cpu", torch.float32).capture(TOKENS, [hookpoint])[hookpoint]


def test_a_checkpoint_without_its_head_serves(tmp_path: Path) -> None:
    whole = LlamaForCausalLM(LlamaConfig(**TEXT, tie_word_embeddings=False))
    whole.save_pretrained(tmp_path / "whole")
    base = LlamaModel(whole.config)
    base.load_state_dict(whole.model.state_dict())
    base.save_pretrained(tmp_path / "base")
    assert torch.equal(captured(tmp_path / "base", "layers.1"), captured(tmp_path / "whole", "layers.1"))


def test_masks_that_older_versions_saved_are_no_surprise(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=100)).save_pretrained(tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    weights = load_file(tmp_path / "old" / "model.safetensors")
    weights |= {f"transformer.h.{layer}.attn.bias": torch.ones(1, 1, 8, 8) for layer in range(2)}
    save_file(weights, tmp_path / "old" / "model.safetensors", {"format": "pt"})
    assert torch.equal(captured(tmp_path / "old", "h.1"), captured(tmp_path / "new", "h.1"))


def test_of_a_model_for_images_too_the_text_part_is_used(tmp_path: Path) -> None:
    model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=TEXT, vision_config=VISION)).eval()
    model.save_pretrained(tmp_path)
    assert [point.width for point in resolve_hookpoints(str(tmp_path), ["layers.1", "layers.0.mlp"])] == [32, 32]
    with torch.no_grad():
        expected = model.get_decoder()(input_ids=TOKENS, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(captured(tmp_path, "layers.0"), expected)


def test_weights_that_do_not_fit_are_never_loaded(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    save_file({f"wrapped.{name}": weight for name, weight in load_file(file).items()}, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"missing: .* and 35 more; not expected: "):
        LanguageModel.load(str(tmp_path / "model"))


def test_what_a_model_cannot_do_is_a_result_and_not_tried_again(tiny_model: Path) -> None:
    extractor = Extractor(ShardSpec(str(tiny_model), "any", ("layers.1",), "float16"), None, 1)
    result, summary = extractor.extract(np.full((2, 8), 10**6), 0)  # ids that the embedding does not have
    assert isinstance(result, ActivationError)
    assert str(result).startswith("IndexError: ")
    assert "\n" not in str(result)
    assert summary == {"computed": True}


def test_what_a_network_does_may_pass_and_is_raised() -> None:
    extractor = Extractor(ShardSpec("nobody/nothing-of-this-name", "any", ("layers.1",), "float16"), None, 1)
    with pytest.raises(UserError, match="no such directory"):
        extractor.extract(np.zeros((2, 8)), 0)
