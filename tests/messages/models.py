"""Models that are not what they seem."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    CTRLConfig,
    CTRLLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
    T5Config,
    XLNetConfig,
    XLNetLMHeadModel,
)

from tests.messages.mistakes import Mistake, Place, mistake

MISTAKES: dict[str, Mistake] = {}
MISFIT = r"model '.*': the weights do not fit its LlamaForCausalLM; "


def copy_of_model(place: Place) -> Path:
    return Path(shutil.copytree(place.tiny_model, place.path / "model"))


def tokenizer_of_tiny_model(place: Place, directory: Path) -> None:
    for file in place.tiny_model.glob("*token*"):
        shutil.copy(file, directory)


def with_weights(place: Place, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> list[str]:
    directory = copy_of_model(place)
    weights = change(load_file(directory / "model.safetensors"))
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return ["--model", str(directory)]


def with_config(place: Place, **changes: Any) -> list[str]:
    directory = copy_of_model(place)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8")) | changes
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return ["--model", str(directory)]


@mistake(
    MISTAKES, MISFIT + r"missing: model\.embed_tokens\.weight, model\.layers\.0\..*, .* and 35 more; not expected: .*"
)
def names_with_a_prefix(place: Place) -> list[str]:
    return with_weights(place, lambda weights: {f"module.{name}": weight for name, weight in weights.items()})


@mistake(MISTAKES, MISFIT + r"missing: model\.layers\.2\.mlp\.up_proj\.weight; .*")
def one_tensor_is_missing(place: Place) -> list[str]:
    return with_weights(place, lambda weights: {k: v for k, v in weights.items() if "layers.2.mlp.up_proj" not in k})


@mistake(MISTAKES, MISFIT + r"not expected: model\.layers\.0\.mlp\.up_proj\.bias; .*")
def one_tensor_too_many(place: Place) -> list[str]:
    return with_weights(place, lambda weights: weights | {"model.layers.0.mlp.up_proj.bias": torch.zeros(64)})


@mistake(
    MISTAKES,
    r"model '.*': model\.safetensors stores weights as quantised numbers, and config\.json has no "
    r"quantization_config that says what they stand for: model\.layers\.0\.mlp\.down_proj\.weight \(I8\), .*",
)
def whole_numbers_that_nothing_explains(place: Place) -> list[str]:
    return with_weights(
        place, lambda weights: {k: (v * 50).to(torch.int8) if "mlp" in k else v for k, v in weights.items()}
    )


@mistake(
    MISTAKES, r"model '.*': model\.safetensors stores weights as quantised numbers, .*down_proj\.weight \(F8_E4M3\), .*"
)
def weights_in_eight_bits_without_their_scales(place: Place) -> list[str]:
    return with_weights(
        place, lambda weights: {k: v.to(torch.float8_e4m3fn) if "mlp" in k else v for k, v in weights.items()}
    )


@mistake(MISTAKES, r"model '.*': has an adapter beside its weights; save the two merged .*, or move it away; .*")
def a_model_with_an_adapter_beside_it(place: Place) -> list[str]:
    directory = copy_of_model(place)
    (directory / "adapter_config.json").write_text("{}", encoding="utf-8")
    return ["--model", str(directory)]


@mistake(MISTAKES, r"model '.*': KeyError: 'swiglu'; allowed: .*")
def an_activation_function_that_there_is_not(place: Place) -> list[str]:
    return with_config(place, hidden_act="swiglu")


@mistake(MISTAKES, MISFIT + r"of another shape: model\.norm\.weight \(\[31\], not \[32\]\); .*")
def one_tensor_of_another_shape(place: Place) -> list[str]:
    return with_weights(place, lambda weights: weights | {"model.norm.weight": torch.ones(31)})


@mistake(
    MISTAKES, r"model '.*': model\.safetensors is a git-LFS pointer, not the file; fetch it with `git lfs pull`; .*"
)
def weights_left_at_git_lfs(place: Place) -> list[str]:
    directory = copy_of_model(place)
    (directory / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", encoding="utf-8"
    )
    return ["--model", str(directory)]


@mistake(MISTAKES, r"model '.*': tokenizer\.json is a git-LFS pointer, .*")
def a_tokenizer_left_at_git_lfs(place: Place) -> list[str]:
    directory = copy_of_model(place)
    (directory / "tokenizer.json").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", encoding="utf-8"
    )
    return ["--model", str(directory)]


@mistake(MISTAKES, r"model '.*': model\.safetensors is cut short or not a safetensors file \(.*\); .*")
def weights_cut_short(place: Place) -> list[str]:
    directory = copy_of_model(place)
    whole = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    return ["--model", str(directory)]


@mistake(MISTAKES, r"model '.*': pytorch_model\.bin is cut short; .*")
def pickled_weights_cut_short(place: Place) -> list[str]:
    directory = copy_of_model(place)
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    whole = (directory / "pytorch_model.bin").read_bytes()
    (directory / "pytorch_model.bin").write_bytes(whole[: len(whole) // 2])
    return ["--model", str(directory)]


@mistake(MISTAKES, r"model '.*': .*no file named model\.safetensors.*")
def no_weights(place: Place) -> list[str]:
    directory = copy_of_model(place)
    (directory / "model.safetensors").unlink()
    return ["--model", str(directory)]


@mistake(MISTAKES, r"model '.*': its tokenizer cannot be loaded: .*")
def no_tokenizer(place: Place) -> list[str]:
    directory = copy_of_model(place)
    for file in directory.glob("*token*"):
        file.unlink()
    return ["--model", str(directory)]


@mistake(MISTAKES, r"model '.*': .*GPTQ.*")
def quantised_by_a_library_that_is_not_here(place: Place) -> list[str]:
    return with_config(place, quantization_config={"quant_method": "gptq", "bits": 4})


@mistake(MISTAKES, r"model '.*': .*custom code.*")
def code_of_its_own(place: Place) -> list[str]:
    return with_config(
        place, model_type="mine", auto_map={"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    )


@mistake(MISTAKES, r"model '.*': .*nonesuch.*")
def an_architecture_nobody_knows(place: Place) -> list[str]:
    return with_config(place, model_type="nonesuch")


@mistake(MISTAKES, r"model '.*': .*config\.json.*")
def a_config_that_is_no_json(place: Place) -> list[str]:
    directory = copy_of_model(place)
    (directory / "config.json").write_text("{", encoding="utf-8")
    return ["--model", str(directory)]


@mistake(MISTAKES, r"model '.*': .+")
def a_config_with_a_width_of_0(place: Place) -> list[str]:
    return with_config(place, hidden_size=0)


@mistake(MISTAKES, r"model '.*': its model_type 't5' is not that of a model that predicts the next token; .*")
def an_encoder_with_a_decoder(place: Place) -> list[str]:
    T5Config().save_pretrained(place.path / "t5")
    return ["--model", str(place.path / "t5")]


@mistake(MISTAKES, r"context_length 32: must be at most 16, the positions of model '.*'")
def learned_positions_that_end_early(place: Place) -> list[str]:
    GPT2LMHeadModel(GPT2Config(n_positions=16, n_embd=32, n_layer=2, n_head=4)).save_pretrained(place.path / "gpt2")
    return ["--model", str(place.path / "gpt2"), "--hookpoint", "h.1"]


@mistake(MISTAKES, r"context_length 32: must be at most 30, the positions of model '.*'")
def positions_that_begin_after_that_of_padding(place: Place) -> list[str]:
    config = RobertaConfig(
        max_position_embeddings=32, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        vocab_size=99, is_decoder=True, pad_token_id=1,
    )  # fmt: skip
    RobertaForCausalLM(config).save_pretrained(place.path / "roberta")
    tokenizer_of_tiny_model(place, place.path / "roberta")
    return ["--model", str(place.path / "roberta"), "--hookpoint", "encoder.layer.1"]


@mistake(MISTAKES, r"context_length 32: must be at most 16, the positions of model '.*'")
def positions_in_a_table_that_is_no_parameter(place: Place) -> list[str]:
    config = CTRLConfig(n_positions=16, n_embd=32, dff=64, n_layer=2, n_head=4, vocab_size=99)
    CTRLLMHeadModel(config).save_pretrained(place.path / "ctrl")
    tokenizer_of_tiny_model(place, place.path / "ctrl")
    return ["--model", str(place.path / "ctrl"), "--hookpoint", "h.1"]


@mistake(
    MISTAKES, r"model '.*': its XLNetLMHeadModel cannot be followed without weights \(.*\), so is not supported; .*"
)
def an_architecture_that_cannot_be_followed(place: Place) -> list[str]:
    config = XLNetConfig(vocab_size=99, d_model=32, n_layer=2, n_head=4, d_inner=64)
    XLNetLMHeadModel(config).save_pretrained(place.path / "xlnet")
    tokenizer_of_tiny_model(place, place.path / "xlnet")
    return ["--model", str(place.path / "xlnet")]


@mistake(MISTAKES, r"context_length 32: must be at most 16, the positions of model '.*'")
def computed_positions_that_end_early(place: Place) -> list[str]:
    config = GPTJConfig(n_positions=16, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, vocab_size=99)
    GPTJForCausalLM(config).save_pretrained(place.path / "gptj")
    return ["--model", str(place.path / "gptj"), "--hookpoint", "h.1"]


@mistake(MISTAKES, r"model '.*': its tokenizer gives ids up to \d+, its embedding has 300 rows; .*")
def a_tokenizer_of_another_model(place: Place) -> list[str]:
    directory = copy_of_model(place)
    small = LlamaConfig.from_pretrained(directory, vocab_size=300)
    LlamaForCausalLM(small).save_pretrained(directory)
    return ["--model", str(directory)]


@mistake(
    MISTAKES, r"hookpoint 'decoder\.layers\.1\.fc1': its output is a tensor \[batch·sequence, 64\] of .*, not a .*; .*"
)
def a_module_whose_output_has_no_sequence(place: Place) -> list[str]:
    config = OPTConfig(hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32)
    OPTForCausalLM(config).save_pretrained(place.path / "opt")
    tokenizer_of_tiny_model(place, place.path / "opt")
    return ["--model", str(place.path / "opt"), "--hookpoint", "decoder.layers.1.fc1"]


@mistake(MISTAKES, r"model '.*': is an adapter without its model; save the two merged .*")
def an_adapter_alone(place: Place) -> list[str]:
    (place.path / "lora").mkdir()
    (place.path / "lora" / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    return ["--model", str(place.path / "lora")]


@mistake(MISTAKES, r"model '.*/model\.gguf': is a file, not a directory; allowed: .*")
def a_file_as_a_model(place: Place) -> list[str]:
    (place.path / "model.gguf").write_bytes(b"GGUF")
    return ["--model", str(place.path / "model.gguf")]
