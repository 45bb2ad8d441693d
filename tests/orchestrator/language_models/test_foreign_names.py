"""Names that other libraries have for a tensor are answered with the module's own, in models of several families."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.language_models.hookpoints import Modules, match_hookpoints, observed, survey

LLAMA_LIKE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 12, "num_attention_heads": 4, "vocab_size": 64,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
GPT2_LIKE = {"n_embd": 32, "n_layer": 12, "n_head": 4, "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**LLAMA_LIKE),
    "gemma2": lambda: transformers.Gemma2Config(**LLAMA_LIKE, num_key_value_heads=2, head_dim=8),
    "gpt2": lambda: transformers.GPT2Config(**GPT2_LIKE),
    "neox": lambda: transformers.GPTNeoXConfig(**LLAMA_LIKE),
    "bloom": lambda: transformers.BloomConfig(hidden_size=32, n_layer=12, n_head=4, vocab_size=64),
    "opt": lambda: transformers.OPTConfig(
        hidden_size=32, ffn_dim=64, num_hidden_layers=12, num_attention_heads=4, vocab_size=64, word_embed_proj_dim=32
    ),
}


@cache
def available(family: str) -> Modules:
    config = CONFIGS[family]()
    return survey(lambda: transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16))


def answer(family: str, name: str) -> str:
    with pytest.raises(UserError) as raised:
        match_hookpoints(available(family), [name])
    assert "\n" not in str(raised.value)
    return str(raised.value)


MEANT = {
    ("llama", "blocks.10.hook_resid_post"): "layers.10",
    ("llama", "blocks.10.hook_resid_pre"): "layers.10:in",
    ("llama", "blocks.10.hook_mlp_out"): "layers.10.mlp",
    ("llama", "blocks.10.hook_attn_out"): "layers.10.self_attn",
    ("llama", "blocks.10.mlp.hook_pre"): "layers.10.mlp.gate_proj",
    ("llama", "blocks.10.mlp.hook_post"): "layers.10.mlp.down_proj:in",
    ("llama", "blocks.10.attn.hook_z"): "layers.10.self_attn.o_proj:in",
    ("llama", "blocks.10.attn.hook_v"): "layers.10.self_attn.v_proj",
    ("llama", "blocks.*.hook_resid_post"): "'layers.?' 'layers.??'",
    ("llama", "blocks.1?.hook_mlp_out"): "layers.1?.mlp",
    ("llama", "hook_embed"): "embed_tokens",
    ("llama", "model.layers.3"): "layers.3",
    ("llama", "model.layers.3.mlp.up_proj:in"): "layers.3.mlp.up_proj:in",
    ("llama", "model.layers.*"): "'layers.?' 'layers.??'",
    ("llama", "model.layers.*.mlp"): "'layers.?.mlp' 'layers.??.mlp'",
    ("llama", "model.layers[3].mlp.output[0]"): "layers.3.mlp",
    ("llama", "model.layers.3.input"): "layers.3:in",
    ("llama", "transformer.h.3"): "layers.3",
    ("llama", "gpt_neox.layers.2.attention"): "layers.2.self_attn",
    ("llama", "Layers.3.MLP"): "layers.3.mlp",
    ("llama", "layers/3/"): "layers.3",
    ("llama", "layers.-1"): "layers.11",
    ("llama", "layers[-2]"): "layers.10",
    ("llama", "10"): "layers.10",
    ("llama", "resid_post_layer_3"): "layers.3",
    ("llama", "layer3"): "layers.3",
    ("llama", "mlp.3"): "layers.3.mlp",
    ("llama", "transformer.ln_f"): "norm",
    ("gpt2", "transformer.h.3"): "h.3",
    ("gpt2", "model.layers.3"): "h.3",
    ("gpt2", "layers.*"): "'h.?' 'h.??'",
    ("gpt2", "blocks.3.mlp.hook_post"): "h.3.mlp.c_proj:in",
    ("gpt2", "blocks.3.attn.hook_z"): "h.3.attn.c_proj:in",
    ("gpt2", "model.embed_tokens"): "wte",
    ("neox", "gpt_neox.layers.2"): "layers.2",
    ("neox", "blocks.2.hook_attn_out"): "layers.2.attention",
    ("neox", "blocks.2.mlp.hook_pre"): "layers.2.mlp.dense_h_to_4h",
    ("gemma2", "blocks.2.hook_mlp_out"): "layers.2.post_feedforward_layernorm",
    ("gemma2", "blocks.2.hook_attn_out"): "layers.2.post_attention_layernorm",
    ("bloom", "blocks.2.hook_mlp_out"): "h.2.mlp.dense_4h_to_h",
    ("opt", "blocks.10.hook_resid_post"): "decoder.layers.10",
    ("opt", "model.decoder.layers.3.self_attn"): "decoder.layers.3.self_attn",
    ("opt", "layers.3"): "decoder.layers.3",
}


@pytest.mark.parametrize(("family", "name"), MEANT, ids=" ".join)
def test_another_librarys_name_is_answered_with_the_modules_own(family: str, name: str) -> None:
    assert answer(family, name) == (
        f"hookpoint {name!r}: matches no module of this model; did you mean {MEANT[family, name]}?"
    )


@pytest.mark.parametrize(
    ("family", "name", "says"),
    [
        ("llama", "blocks.12.hook_resid_post", "matches no module of this model; the closest are layers.11"),
        ("gpt2", "blocks.3.attn.hook_q", "matches no module of this model; the closest are h.3, h.3.ln_1, "),
        ("neox", "blocks.3.hook_resid_mid", "matches no module of this model; the closest are layers.3, "),
        ("neox", "resid_post", "matches no module of this model; the closest are layers.0, "),
        ("llama", "lm_head", "the head is outside the base model, where hookpoints are; the closest are norm"),
        ("llama", "layers.{1,2}", "wildcards are *, ? and [...], not {...}, which a shell replaces"),
        ("llama", "layers.1 layers.2", "several values are separated by spaces, without quotes around them all"),
        ("llama", "layers.3:out", "the only suffix is ':in', for a module's input; the closest are layers.3,"),
        ("llama", "nothing", "matches no module of this model; the closest are layers.0, "),
    ],
)
def test_what_has_no_equal_here_is_answered_with_what_there_is(family: str, name: str, says: str) -> None:
    assert answer(family, name).startswith(f"hookpoint {name!r}: {says}")


def captured(model: Any, *names: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    with observed(model.base_model, names, lambda name, value: found.setdefault(name, value)), torch.no_grad():
        model(input_ids=torch.arange(12).reshape(2, 6))
    return found


@pytest.mark.parametrize(
    ("family", "stack"), [("llama", "layers"), ("gemma2", "layers"), ("gpt2", "h"), ("bloom", "h")]
)
def test_what_is_named_for_the_residual_stream_is_what_is_added_to_it(family: str, stack: str) -> None:
    torch.manual_seed(0)
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(CONFIGS[family]()).eval()
    asked = [f"blocks.3.{hook}" for hook in ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")]
    names = [answer(family, name).rpartition("did you mean ")[2].rstrip("?") for name in asked]
    found = captured(model, *names, f"{stack}.2")
    before, attention, mlp, after = (found[name] for name in names)
    torch.testing.assert_close(before, found[f"{stack}.2"])
    torch.testing.assert_close(before + attention + mlp, after)
