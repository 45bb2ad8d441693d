"""A small Llama with random weights, made on this machine: it exercises a sweep over Llama, it answers nothing.

13 layers of width 128, so that the hookpoints of Llama-3.2-1B in the study exist, with SmolLM2's tokenizer.
"""

from pathlib import Path

import torch
import transformers

from orchestrator.atomic import atomic_directory
from orchestrator.errors import UserError
from orchestrator.language_models.packaged import (
    cache_directory,
    no_progress_bars,
    packaged_directory,
    packaged_fingerprint,
)

_RECIPE = 1  # raise it when the code below would make something else
_SIZES = {
    "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 13, "num_attention_heads": 8,
    "num_key_value_heads": 2, "max_position_embeddings": 2048,
}  # fmt: skip


def small_llama_fingerprint() -> str:
    """What decides the weights: this recipe, torch's generator and the tokenizer. Raises UserError as below."""
    return f"small-llama-{_RECIPE}-torch-{torch.__version__}-{packaged_fingerprint()}"


def small_llama_directory() -> Path:
    """The model as a directory for `from_pretrained`, made on first use; safe to call concurrently.

    Raises UserError if the packaged model, whose tokenizer it takes, is missing, or the cache cannot be written.
    """
    directory = cache_directory() / f"{small_llama_fingerprint()}-transformers-{transformers.__version__}"
    if not directory.is_dir():
        try:
            with atomic_directory(directory) as unfinished:
                _make(unfinished)
        except OSError as error:
            raise UserError(f"model 'small-llama': cannot write {directory} ({error}); set XDG_CACHE_HOME") from error
    return directory


def _make(target: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(packaged_directory())
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), tie_word_embeddings=True, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, **_SIZES,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), no_progress_bars():
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(config).save_pretrained(target)
    tokenizer.save_pretrained(target)
