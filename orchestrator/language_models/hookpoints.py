"""Hookpoints: which tensors of a language model a name or pattern stands for, and reading them out of a forward.

A hookpoint is the path of a module inside the base model, as in sparsify: `layers.10`, `layers.10.mlp`. It stands for
the module's output (of a tuple or a list the first element); `layers.10.mlp:in` stands for the module's input.

Patterns are matched by `fnmatch` over all module paths, again as in sparsify, so `*` crosses dots: `layers.1[05]` is
two layers, and `layers.1[05]*` those two and every module inside them that is a hookpoint.
"""

import difflib
import logging
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from orchestrator.errors import UserError
from orchestrator.language_models.foreign_names import INPUT as INPUT
from orchestrator.language_models.foreign_names import blocks_of, is_head, meant_for
from orchestrator.language_models.patterns import is_pattern, what_it_meant, without_crossing

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
    modules = _modules_of(base, names)
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


@contextmanager
def replaced(base: nn.Module, name: str, source: str, change: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Put `change(x, y)` in the place of the hookpoint's value y, where x is that of `source`, computed no later.

    Where a module runs more than once in a forward, its first run is changed. Raises UserError for a name that is no
    module.
    """
    seen: dict[str, Tensor] = {}
    module = _modules_of(base, [name])[name.removesuffix(INPUT)]

    def changed(value: Tensor) -> Tensor:
        if name in seen:
            return value
        seen[name] = value
        return change(seen[source], value)

    def before(_: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (changed(args[0]), *args[1:]), kwargs
        first = next(iter(kwargs))
        return args, kwargs | {first: changed(kwargs[first])}

    def after(_: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, (tuple, list)):
            return type(output)((changed(output[0]), *output[1:]))
        return changed(output)

    def see(other: str, value: Tensor) -> None:
        seen.setdefault(other, value)

    others = [] if source == name else [source]
    with observed(base, others, see):
        is_input = name.endswith(INPUT)
        handle = (
            module.register_forward_pre_hook(before, with_kwargs=True)
            if is_input
            else module.register_forward_hook(after)
        )
        try:
            yield
        finally:
            handle.remove()


def _modules_of(base: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    modules = dict(base.named_modules())
    unknown = [name for name in names if name.removesuffix(INPUT) not in modules]
    if unknown:
        raise UserError(_no_match(unknown[0], Modules([*modules], dict.fromkeys(modules, 0), {})))
    return modules


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

    with FakeTensorMode(), torch.no_grad(), _without_tracebacks():
        model = build().eval()
        base: Any = model.base_model
        modules = [name for name, _ in base.named_modules() if name]
        with observed(base, [*modules, *(name + INPUT for name in modules)], see):
            try:
                base(input_ids=torch.zeros(_PROBE_SHAPE, dtype=torch.long), use_cache=False)
            except Exception as error:
                kind, said = type(model).__name__, str(error).strip().partition("\n")[0]
                raise ValueError(
                    f"its {kind} cannot be followed without weights ({said}), so is not supported"
                ) from error
    return Modules(modules, widths, others)


@contextmanager
def _without_tracebacks() -> Iterator[None]:
    """torch logs one of its own where shapes cannot be followed; the caller says it in a line."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


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


def what_patterns_meant(patterns: Sequence[str], hookpoints: Sequence[Hookpoint]) -> list[str]:
    """A line for each pattern with wildcards, on how many of the model's resolved hookpoints it means."""
    names = {side: [p.name for p in hookpoints if p.name.endswith(INPUT) == side] for side in (False, True)}
    return [what_it_meant(pattern, names[pattern.endswith(INPUT)]) for pattern in patterns if is_pattern(pattern)]


def _no_match(pattern: str, there: Modules) -> str:
    modules, hookpoints = there.paths, there.widths
    path = pattern.removesuffix(INPUT)
    words = pattern.split()
    if known := [module for module in modules if fnmatchcase(module, path)]:
        side = "input" if pattern != path else "output"
        what = there.others.get(known[0] + INPUT if pattern != path else known[0], "computed in no forward pass")
        problem = f"its {side} is {what}, not a [batch, sequence, width] tensor of floats"
    elif len(words) > 1:
        return f"hookpoint {pattern!r}: several values are separated by spaces, without quotes around them all"
    elif "{" in path:
        problem = "wildcards are *, ? and [...], not {...}, which a shell replaces where it is not quoted"
    elif is_head(path):
        problem = "the head is outside the base model, where hookpoints are"
    elif ":" in path:
        problem = "the only suffix is ':in', for a module's input"
    elif meant := _translated(pattern, hookpoints):
        return f"hookpoint {pattern!r}: matches no module of this model; did you mean {meant}?"
    else:
        problem = "matches no module of this model"
    return f"hookpoint {pattern!r}: {problem}; the closest are {', '.join(_closest(path, modules, hookpoints))}"


def _translated(pattern: str, hookpoints: Collection[str]) -> str:
    """What the pattern is called here, if it is another library's or another model's name."""
    path = pattern.removesuffix(INPUT)
    suffix = pattern.removeprefix(path)
    of_side = [name.removesuffix(INPUT) for name in hookpoints if name.endswith(INPUT)] if suffix else hookpoints
    meant = meant_for(path, of_side)
    if "*" not in meant:
        return meant and meant + suffix
    outputs = [name for name in of_side if not name.endswith(INPUT)]
    return shlex.join(each + suffix for each in without_crossing(meant, outputs) or [meant])


def _closest(path: str, modules: Sequence[str], hookpoints: Collection[str]) -> list[str]:
    """At most four hookpoints to name; where nothing is alike, a block and what is inside it."""
    outputs = [name for name in hookpoints if not name.endswith(INPUT)]
    if is_head(path):
        return outputs[-1:]
    guesses = [*_clamped_layers(path, modules), meant_for(path, hookpoints, clamped=True)]
    if not re.search("hook_|resid", path):  # another library's words, which resemble others by chance
        guesses += difflib.get_close_matches(path.partition(":")[0], outputs, 4, 0.4)
    number = re.search(r"\d+", path)
    block = f"{blocks_of(hookpoints)[0]}.{number[0] if number else 0}"
    block = block if block in outputs else f"{blocks_of(hookpoints)[0]}.0"
    inside = sorted((n for n in outputs if n == block or n.startswith(block + ".")), key=lambda name: name.count("."))
    return list(dict.fromkeys([n for n in guesses if n in hookpoints] or inside))[:4]


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
