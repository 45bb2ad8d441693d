"""What an unknown hookpoint was meant for: the names that other libraries and other models have for the same tensors.

Named in the error rather than translated: whoever reads a result later finds the module's own path in it.

`blocks.10.hook_resid_post` (TransformerLens, SAELens), `transformer.h.10` (the whole model's path), `layer_10` and
`model.layers[10].output` (nnsight) are all `layers.10` in a Llama and `h.10` in a GPT-2.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase

INPUT = ":in"
"""Suffix of a hookpoint that stands for a module's input."""

_CONTAINERS = {
    "model", "transformer", "gpt_neox", "base_model", "language_model", "text_model", "backbone", "module", "decoder",
    "encoder", "blocks", "block", "layers", "layer", "h",
}  # fmt: skip
"""What stands before the number of a block, here or there."""
_MLP = ("mlp", "ffn", "feed_forward", "block_sparse_moe")
_ATTENTION = ("self_attn", "attn", "attention", "self_attention")
_ENDS = (
    {"embed_tokens", "wte", "embed_in", "word_embeddings", "embeddings", "hook_embed", "embed"},
    {"norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f"},
)
"""What comes before and after the blocks."""
_HEADS = ("lm_head", "embed_out", "unembed", "logits")

_UP = ("gate_proj", "c_fc", "dense_h_to_4h", "fc1", "fc_in", "up_proj")
_DOWN = ("down_proj", "c_proj", "dense_4h_to_h", "fc2", "fc_out")
_OUT = ("o_proj", "out_proj", "c_proj", "dense")
# What a block adds to the residual stream has passed a norm where there is one after the module (Gemma 2, OLMo 2), and
# is added inside the module in BLOOM and MPT, whose output is then the stream itself.
_HOOKS: dict[str, tuple[str, ...]] = {
    "hook_resid_pre": (INPUT,),
    "hook_resid_post": ("",),
    "hook_mlp_out": (".post_feedforward_layernorm", ".ffn.down_proj", *(f".{mlp}" for mlp in _MLP)),
    "hook_attn_out": tuple(f".{attention}" for attention in _ATTENTION),
    "mlp.hook_pre": tuple(f".{mlp}.{up}" for mlp in _MLP for up in _UP),
    "mlp.hook_pre_linear": tuple(f".{mlp}.up_proj" for mlp in _MLP),
    "mlp.hook_post": tuple(f".{mlp}.{down}{INPUT}" for mlp in _MLP for down in _DOWN),
    "attn.hook_z": tuple(f".{attention}.{out}{INPUT}" for attention in _ATTENTION for out in _OUT),
    **{f"attn.hook_{x}": tuple(f".{attention}.{x}_proj" for attention in _ATTENTION) for x in "qkv"},
}
"""TransformerLens's names within a block, as tails of module paths; the first that there is counts."""


def is_head(path: str) -> bool:
    """Whether the path names what makes logits, which is outside the base model."""
    return path.rpartition(".")[2].lower() in _HEADS


def meant_for(path: str, hookpoints: Collection[str], *, clamped: bool = False) -> str:
    """The hookpoint, or pattern of some, that an unknown path was meant for; empty where nobody can tell.

    `clamped` takes the last block where the path has a number beyond it.
    """
    tidy = re.sub(r"(?<=\w)\[(-?\d+|\*)\]", r".\1", path.strip()).replace("/", ".").strip(".")
    if clamped:
        last = blocks_of(hookpoints)[1] - 1
        tidy = re.sub(r"\d+", lambda number: str(min(int(number[0]), last)), tidy, count=1)
    return next((name for name in _candidates(tidy, hookpoints) if _exists(name, hookpoints)), "")


def blocks_of(hookpoints: Collection[str]) -> tuple[str, int]:
    """The path before the number of a block, and how many blocks there are."""
    found = {match.groups() for name in hookpoints if (match := re.match(r"([a-zA-Z_.]+)\.(\d+)(?![\w])", name))}
    counts = Counter(stack for stack, _ in found)
    return counts.most_common(1)[0] if counts else ("", 0)


def _exists(pattern: str, hookpoints: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in hookpoints)


def _candidates(tidy: str, hookpoints: Collection[str]) -> Iterator[str]:
    """What the path may stand for, the surest first; not all of them exist."""
    parts = tidy.split(".")
    number = next((i for i, part in enumerate(parts) if re.fullmatch(r"-?\d+|[\d*?\[\]-]+", part)), len(parts))
    # A path that begins further out, or has capitals.
    for start in range(max(1, number) if number < len(parts) else len(parts)):
        yield from (".".join(parts[start:]), ".".join(parts[start:]).lower())
    for family in _ENDS:
        if parts[-1] in family:
            yield from (name for name in hookpoints if name.rpartition(".")[2] in family and not re.search(r"\d", name))
    stack, count = blocks_of(hookpoints)
    if number < len(parts) and {part.lower() for part in parts[:number]} <= _CONTAINERS:
        which = parts[number]
        if re.fullmatch(r"-?\d+", which):
            which = str(int(which) + count if which.startswith("-") else int(which))
        yield from (f"{stack}.{which}{tail}" for tail in _tails(parts[number + 1 :], hookpoints))
    elif len(numbers := re.findall(r"\d+", tidy)) == 1:
        yield from (f"{stack}.{int(numbers[0])}{tail}" for tail in _loose_tails(tidy.lower()))


def _tails(rest: Sequence[str], hookpoints: Collection[str]) -> Iterator[str]:
    """What may follow a block's number, for what somebody wrote there."""
    side = ""
    while rest and rest[-1] in ("output", "input", "0", "out", "in"):
        side = INPUT if rest[-1] in ("input", "in") else side
        rest = rest[:-1]
    wrote = ".".join(rest)
    there = {name.rpartition(".")[2] for name in hookpoints}
    if wrote == "hook_attn_out" and "post_feedforward_layernorm" in there:
        yield ".post_attention_layernorm"
    if "gelu_impl" in there:  # BLOOM
        yield from {"hook_mlp_out": [".mlp.dense_4h_to_h"], "hook_attn_out": [".self_attention.dense"]}.get(wrote, [])
    if wrote in _HOOKS:
        yield from _HOOKS[wrote]
    if not rest:
        yield side
    for family in (_MLP, _ATTENTION):
        if rest and rest[0] in family:
            yield from ("." + ".".join([name, *rest[1:]]) + side for name in family)


def _loose_tails(wrote: str) -> Sequence[str]:
    """The same for a name that has the number anywhere, such as `resid_post_layer_3` or `mlp_3`."""
    words = set(re.split(r"[^a-z]+", wrote)) - _CONTAINERS - {"", "l", "hook", "out", "output"}
    if words == {"mlp"}:
        return [f".{name}" for name in _MLP]
    if len(words) == 1 and words <= set(_ATTENTION):
        return [f".{name}" for name in _ATTENTION]
    if words == {"resid", "pre"}:
        return [INPUT]
    return [""] if words <= {"resid", "residual", "post"} else []
