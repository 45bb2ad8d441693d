"""Loading a model's weights, and what is wrong with them: a tensor that does not fit is an error, not a random one."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from orchestrator.language_models.architecture import config_of, loader_of, text_model
from orchestrator.language_models.packaged import no_progress_bars

LFS_POINTER = b"version https://git-lfs"
# Masks and rotations that older versions of transformers saved and all versions compute.
_CONSTANTS = re.compile(r"(attn|attention)\.(masked_)?bias$|inv_freq$|position_ids$")
_NAMED = 3


class Loaded(NamedTuple):
    """A model whose text part has all its weights."""

    model: Any
    predicts: bool
    """Whether its head has them too; a head that the checkpoint lacks is random."""


def load_weights(source: dict[str, Any], **options: Any) -> Loaded:
    """The model whole, head included, from tensors that all fit.

    `source` is what `from_pretrained` takes to find it, `options` what else it takes: with `device_map="meta"` tensors
    are matched and none is read. Raises ValueError that names a few of the tensors that are missing, not expected or of
    another shape. A head may be missing, since activations do not depend on it.
    """
    config = config_of(source)
    with no_progress_bars(), _quiet():
        loaded, found = loader_of(config).from_pretrained(
            **source, **options, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True
        )
    text = text_model(loaded)
    prefix = next(name for name, module in loaded.named_modules() if module is text)
    missing = [name for name in found["missing_keys"] if name.startswith(f"{prefix}." if prefix else "")]
    problems = {
        "missing": missing,
        "not expected": [name for name in found["unexpected_keys"] if not _CONSTANTS.search(name)],
        "of another shape": [
            f"{name} ({list(stored)}, not {list(expected)})" for name, stored, expected in found["mismatched_keys"]
        ],
    }
    if said := "; ".join(f"{what}: {_some(names)}" for what, names in problems.items() if names):
        raise ValueError(f"the weights do not fit its {type(loaded).__name__}; {said}")
    return Loaded(loaded, predicts=len(found["missing_keys"]) == len(missing))


def check_numbers(directory: Path, config: Any) -> None:
    """Raises ValueError for parameters in eight bits or whole numbers, where nothing says what they stand for.

    Quantised weights are such numbers and scales; transformers reads them as the weights where the configuration does
    not say how they were quantised.
    """
    if getattr(config, "quantization_config", None) is not None:
        return
    for path in (*directory.glob("model*.safetensors"), *directory.glob("pytorch_model*.bin")):
        whole = [f"{name} ({dtype})" for name, dtype in _dtypes(path) if _is_quantised(name, dtype)]
        if whole:
            raise ValueError(
                f"{path.name} stores weights as quantised numbers, and config.json has no quantization_config that "
                f"says what they stand for: {_some(whole)}"
            )


def _dtypes(path: Path) -> list[tuple[str, str]]:
    """Names and dtypes of a file's tensors, of which none is read."""
    if path.suffix == ".bin":
        tensors = torch.load(path, map_location="meta", weights_only=True).items()
        return [(name, str(tensor.dtype)) for name, tensor in tensors if isinstance(tensor, torch.Tensor)]
    with safe_open(path, framework="pt") as file:
        return [(name, file.get_slice(name).get_dtype()) for name in file.keys()]  # noqa: SIM118 -- it is no dict


def _is_quantised(name: str, dtype: str) -> bool:
    is_parameter = name.endswith((".weight", ".bias")) and not _CONSTANTS.search(name)
    return is_parameter and re.match(r"(torch\.)?(u?int|bool|float8|I|U|BOOL|F8)", dtype) is not None


def check_files(directory: Path) -> None:
    """Raises ValueError for a file of the model that is not there in full, though its name is."""
    for path in sorted(directory.iterdir()):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            start = file.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            raise ValueError(f"{path.name} is a git-LFS pointer, not the file; fetch it with `git lfs pull`")
        if path.suffix == ".bin" and start.startswith(b"PK") and not is_zipfile(path):  # what torch.save writes
            raise ValueError(f"{path.name} is cut short")
        if path.suffix == ".safetensors":
            try:
                with safe_open(path, framework="pt"):  # reads the header, and compares its offsets with the size
                    pass
            except SafetensorError as error:
                raise ValueError(f"{path.name} is cut short or not a safetensors file ({error})") from error


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own table of tensors that do not fit."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
