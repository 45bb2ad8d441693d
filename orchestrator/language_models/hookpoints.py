"""Hookpoints: which tensors of a language model a name or pattern stands for, and reading them out of a forward.

A hookpoint is the path of a module inside the base model, as in sparsify: `layers.10`, `layers.10.mlp`. It stands for
the module's output (of a tuple or a list the first element); `layers.10.mlp:in` stands for the module's input.

Patterns are matched by `fnmatch` over all module paths, again as in sparsify, so `*` crosses dots: `layers.1[05]` is
two layers, and `layers.1[05]*` those two and every module inside them that is a hookpoint.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from orchestrator.errors import UserError
from orchestrator.language_models.hookpoint_names import translations

INPUT = ":in"
"""Suffix of a hookpoint that stands for a module's input."""

_PROBE_SHAPE = (2, 5)  # batch and sequence: different, so that a swapped layout is noticed


@dataclass(frozen=True)
class Hookpoint:
    """One tensor of shape [batch, sequence, width] inside a model."""

    name: str
    """Module path relative to the base model, with `:in` for the module's input."""
    width: int
    """Size of the last dimension."""


@contextmanager
def observed(base: nn.Module, names: Sequence[str], see: Callable[[str, Any], None]) -> Iterator[None]:
    """Call `see(name, value)` whenever one of the hookpoints is computed; hooks are removed at the end of the block."""
    modules = dict(base.named_modules())
    unknown = [name for name in names if name.removesuffix(INPUT) not in modules]
    if unknown:
        raise UserError(_no_match(unknown[0], Modules([*modules], dict.fromkeys(modules, 0), {})))
    handles = []
    for name in names:
        module = modules[name.removesuffix(INPUT)]
        if name.endswith(INPUT):

            def before(_: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                see(name, args[0] if args else next(iter(kwargs.values()), None))

            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        else:

            def after(_: nn.Module, args: Any, output: Any, name: str = name) -> None:
                see(name, output[0] if isinstance(output, (tuple, list)) and output else output)

            handles.append(module.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Modules:
    """What a forward of a model shows of its modules."""

    paths: list[str]
    """Of all modules."""
    widths: dict[str, int]
    """Of the hookpoints, in the order they are computed."""
    others: dict[str, str]
    """Inputs and outputs that are no hookpoints, and what they are instead."""


def survey(build: Callable[[], nn.Module]) -> Modules:
    """What can be read of the model that `build` makes.

    The model is built and run on fake tensors: shapes are followed, nothing is allocated or computed. (Plain meta
    tensors do not do, since transformers looks at mask values unless it sees that it is being traced.)
    """
    widths: dict[str, int] = {}
    others: dict[str, str] = {}

    def see(name: str, value: Any) -> None:
        floats = isinstance(value, Tensor) and value.is_floating_point()
        if floats and value.ndim == 3 and tuple(value.shape[:2]) == _PROBE_SHAPE:
            widths.setdefault(name, value.shape[-1])
        else:
            others.setdefault(name, _describe(value))

    with FakeTensorMode(), torch.no_grad():
        model = build().eval()
        base: Any = model.base_model
        modules = [name for name, _ in base.named_modules() if name]
        with observed(base, [*modules, *(name + INPUT for name in modules)], see):
            base(input_ids=torch.zeros(_PROBE_SHAPE, dtype=torch.long), use_cache=False)
    return Modules(modules, widths, others)


def _describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    batch, length = _PROBE_SHAPE
    names = {batch: "batch", length: "sequence", batch * length: "batch·sequence"}
    shape = ", ".join(names.get(size, str(size)) for size in value.shape)
    return f"a tensor [{shape}] of {str(value.dtype).removeprefix('torch.')}"


def match_hookpoints(there: Modules, patterns: Sequence[str]) -> list[Hookpoint]:
    """The hookpoints that the patterns name: in the order of the patterns, then of the network, without duplicates.

    Raises UserError for a pattern that names none.
    """
    found: dict[str, Hookpoint] = {}
    for pattern in patterns:
        path = pattern.removesuffix(INPUT)
        wants_input = pattern != path
        matched = [
            name
            for name in there.widths
            if name.endswith(INPUT) == wants_input and fnmatchcase(name.removesuffix(INPUT), path)
        ]
        if not matched:
            raise UserError(_no_match(pattern, there))
        for name in matched:
            found.setdefault(name, Hookpoint(name, there.widths[name]))
    return list(found.values())


def _no_match(pattern: str, there: Modules) -> str:
    path = pattern.removesuffix(INPUT)
    side = "input" if pattern != path else "output"
    meant = [module for module in there.paths if fnmatchcase(module, path)]
    if meant:
        what = there.others.get(meant[0] + INPUT if pattern != path else meant[0], "computed in no forward pass")
        problem = f"its {side} is {what}, not a [batch, sequence, width] tensor of floats"
    elif ":" in path:
        problem = "the only suffix is ':in', for a module's input"
    else:
        problem = "matches no module of this model"
    outputs = [name for name in there.widths if not name.endswith(INPUT)]
    if known := translations(path, there.widths):
        return f"hookpoint {pattern!r}: {problem}; did you mean {known[0]}{INPUT if pattern != path else ''}?"
    guesses = [*_clamped_layers(path, there.paths), *difflib.get_close_matches(path.partition(":")[0], outputs, 4, 0.4)]
    nearest = list(dict.fromkeys(name for name in guesses if name in there.widths))[:4] or outputs[:4]
    return f"hookpoint {pattern!r}: {problem}; the closest are {', '.join(nearest)}"


def _clamped_layers(path: str, modules: Sequence[str]) -> list[str]:
    """The path with a layer number that is too large replaced by the largest there is."""
    parts = path.split(".")
    for i, part in enumerate(parts):
        prefix = ".".join(parts[:i])
        siblings = [name.rpartition(".")[2] for name in modules if name.rpartition(".")[0] == prefix]
        numbers = [int(sibling) for sibling in siblings if sibling.isdecimal()]
        if part.isdecimal() and numbers:
            parts[i] = str(min(int(part), max(numbers)))
    return [".".join(parts)]
