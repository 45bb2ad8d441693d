"""Real activations for the benchmark: SmolLM2-135M's residual stream at layer 10 over English prose, extracted once."""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from orchestrator.errors import UserError

HOOKPOINT = "layers.10"
CONTEXT = 256


def cached_activations(tokens: int) -> Path:
    """A file of at least `tokens` activations, extracted on first use into `$XDG_CACHE_HOME` (else `~/.cache`)."""
    try:
        from orchestrator.language_models.loading import computes_in, fingerprint
    except ImportError as error:
        raise UserError(f"running the language model needs {error.name}; give --activations FILE instead") from error
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pursuit-lab" / "benchmarks"
    made_by = f"{fingerprint('packaged')} {computes_in()}".replace(" ", "-")
    path = cache / f"{HOOKPOINT}-{tokens}-{made_by}.safetensors"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        save_file({"activations": _extract(tokens)}, unfinished)
        unfinished.replace(path)
    return path


def _extract(tokens: int) -> Tensor:
    """Activations [tokens, D] in the dtype the model computes in; each context's first position is left out."""
    from orchestrator.language_models.loading import LanguageModel, load_tokenizer
    from orchestrator.text.python_docs import python_docs

    contexts = -(-tokens // (CONTEXT - 1))
    tokenizer, ids = load_tokenizer("packaged"), []
    for text in python_docs():
        ids += [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        if len(ids) >= contexts * CONTEXT:
            break
    if len(ids) < contexts * CONTEXT:
        raise UserError(f"only {len(ids)} tokens of text are installed; {contexts * CONTEXT} are needed")
    blocks = torch.tensor(ids[: contexts * CONTEXT]).view(contexts, CONTEXT)
    captured = LanguageModel.load("packaged").capture(blocks, [HOOKPOINT])[HOOKPOINT]
    return captured[:, 1:].reshape(-1, captured.shape[-1])[:tokens].contiguous()


def load_activations(path: Path) -> Tensor:
    """The file's `activations`, [N, D] float32, scaled so that the mean variance of a coordinate is 1."""
    try:
        activations_ND = load_file(path)["activations"].float()
    except (OSError, KeyError, SafetensorError) as error:
        raise UserError(f"--activations {path}: no safetensors file with a tensor named 'activations'") from error
    if activations_ND.ndim != 2 or len(activations_ND) < 2 or not activations_ND.isfinite().all():
        raise UserError(f"--activations {path}: 'activations' must be a finite matrix with a row per token")
    return scaled(activations_ND)


def scaled(activations_ND: Tensor) -> Tensor:
    """The same in the unit in which the mean variance of a coordinate is 1."""
    return activations_ND * activations_ND.var(dim=0, correction=0).mean().rsqrt()
