"""What is named for TransformerLens's hooks is the tensor that TransformerLens itself has there."""

from typing import Any

import pytest
import torch
import transformers

from tests.orchestrator.language_models.test_foreign_names import CONFIGS, answer, captured

lens = pytest.importorskip("transformer_lens")
weight_conversions = pytest.importorskip("transformer_lens.pretrained.weight_conversions")

SHAPE = {
    "d_model": 32, "n_layers": 12, "n_heads": 4, "d_head": 8, "n_ctx": 64, "d_vocab": 64, "d_mlp": 64,
    "default_prepend_bos": False,
}  # fmt: skip
ROTARY = {"positional_embedding_type": "rotary", "rotary_adjacent_pairs": False}
LLAMA_LIKE = ROTARY | {"normalization_type": "RMS", "rotary_dim": 8, "gated_mlp": True, "final_rms": True, "eps": 1e-6}
GEMMA = {
    "use_normalization_before_and_after": True, "use_attn_scale": True, "attn_scale": 16.0,
    "attn_scores_soft_cap": 50.0,
}  # fmt: skip
THEIRS: dict[str, dict[str, Any]] = {
    "gpt2": {"act_fn": "gelu_new", "normalization_type": "LN", "d_mlp": 128},
    "neox": ROTARY | {"act_fn": "gelu", "normalization_type": "LN", "rotary_dim": 2, "parallel_attn_mlp": True},
    "llama": LLAMA_LIKE | {"act_fn": "silu"},
    "gemma2": LLAMA_LIKE | {"act_fn": "gelu_pytorch_tanh", "n_key_value_heads": 2, **GEMMA},
}
CONVERT = {"gpt2": "gpt2", "neox": "neox", "llama": "llama", "gemma2": "gemma"}
HOOKS = [
    "hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "mlp.hook_pre", "mlp.hook_post",
    "attn.hook_z",
]  # fmt: skip
OF_LLAMAS = ["mlp.hook_pre_linear", "attn.hook_q", "attn.hook_k", "attn.hook_v"]


@pytest.mark.parametrize("family", THEIRS)
def test_the_named_hookpoint_is_the_tensor_of_the_hook(family: str) -> None:
    torch.manual_seed(0)
    ours: Any = transformers.AutoModelForCausalLM.from_config(CONFIGS[family](), attn_implementation="eager").eval()
    config = lens.HookedTransformerConfig(**SHAPE | THEIRS[family], original_architecture="Gemma2ForCausalLM")
    weights = getattr(weight_conversions, f"convert_{CONVERT[family]}_weights")(ours, config)
    theirs = lens.HookedTransformer(config)
    plain = {"fold_ln": False, "center_writing_weights": False, "center_unembed": False, "fold_value_biases": False}
    theirs.load_and_process_state_dict(weights, **plain)
    _, cache = theirs.run_with_cache(torch.arange(12).reshape(2, 6))
    for hook in HOOKS + (OF_LLAMAS if family in ("llama", "gemma2") else []):
        name = answer(family, f"blocks.3.{hook}").rpartition("did you mean ")[2].rstrip("?")
        torch.testing.assert_close(captured(ours, name)[name], cache[f"blocks.3.{hook}"].reshape(2, 6, -1))
