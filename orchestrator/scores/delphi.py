"""delphi, imported where it is needed: the one module that does.

`eai-delphi` 0.1.3 imports vllm wherever its scorers are imported, for a client that only a GPU machine can use. Where
vllm is not installed, an empty package stands in for it while delphi is imported, and is gone afterwards.
"""

import functools
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from orchestrator.errors import UserError

_VLLM = {
    "vllm": ("LLM", "SamplingParams"),
    "vllm.inputs": ("TokensPrompt",),
    "vllm.distributed": (),
    "vllm.distributed.parallel_state": ("destroy_distributed_environment", "destroy_model_parallel"),
}
"""What delphi imports from vllm."""


@functools.cache
def delphi(module: str) -> Any:
    """A module of delphi's, such as `scorers`; its log, a line for every answer that cannot be parsed, is silent.

    Raises UserError where delphi is not installed.
    """
    if importlib.util.find_spec("delphi") is None:
        raise UserError("scores: delphi is not installed; pip install --no-deps eai-delphi==0.1.3")
    with _vllm_if_absent():
        found = importlib.import_module(f"delphi.{module}")
    logging.getLogger("delphi").setLevel(logging.CRITICAL)
    return found


def has_vllm() -> bool:
    """Whether delphi's client for vllm can be used."""
    return importlib.util.find_spec("vllm") is not None


@contextmanager
def _vllm_if_absent() -> Iterator[None]:
    if "vllm" in sys.modules or has_vllm():
        yield
        return
    placeholders = {name: ModuleType(name) for name in _VLLM}
    for name, module in placeholders.items():
        module.__path__ = []  # a package: modules are looked for in it
        for attribute in _VLLM[name]:
            setattr(module, attribute, None)
    sys.modules.update(placeholders)
    try:
        yield
    finally:
        for name in placeholders:
            del sys.modules[name]
