"""Hookpoints by the names that other libraries give them, to name the one that is meant."""

import re
from collections.abc import Collection

_LAYER = re.compile(r"(?:^|\.)(?:blocks|layers|layer|h|block)\.(\d+)(?:\.(.*))?$")
# TransformerLens' names inside a block, and the module of ours by its part; `:in` is the module's input.
_HOOKS = {
    "hook_resid_post": [""],
    "hook_resid_pre": [":in"],
    "hook_mlp_out": [".mlp", ".feed_forward"],
    "hook_attn_out": [".self_attn", ".attn", ".attention", ".self_attention"],
}


def translations(name: str, hookpoints: Collection[str]) -> list[str]:
    """Hookpoints that a name of another library, or of another architecture, may stand for; most likely first."""
    parts = name.split(".")
    without_prefix = [".".join(parts[start:]) for start in range(1, len(parts))]
    return list(
        dict.fromkeys(found for found in [*without_prefix, *_in_layer(name, hookpoints)] if found in hookpoints)
    )


def _in_layer(name: str, hookpoints: Collection[str]) -> list[str]:
    match = _LAYER.search(name)
    stem = layers_of(hookpoints)
    if not match or stem is None:
        return []
    layer, inside = f"{stem}.{match[1]}", match[2] or ""
    exact = [layer + part for part in _HOOKS.get(inside, [f".{inside}" if inside else ""])]
    return [*exact, layer]


def layers_of(hookpoints: Collection[str]) -> str | None:
    """The list whose entries are the model's layers: `layers`, `h`, `decoder.layers`."""
    stems = [name.rpartition(".")[0] for name in hookpoints if name.rpartition(".")[2].isdecimal()]
    return min(stems, key=lambda stem: stem.count("."), default=None)
