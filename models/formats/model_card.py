"""The README.md of a coder: what it is, how it was trained, what it scored and how to load it, as far as is known."""

import json
from collections.abc import Iterable, Mapping

from models.coder import Coder

CARD_FILE = "README.md"
LOAD_HERE = 'coder = SparseCoder.load_from_disk(".")'
"""The line of a card that loads the coder beside it; on the hub, one that loads it from there takes its place."""

METRICS = {
    "val/fvu": "fraction of variance unexplained, Σ‖y − ŷ‖² / Σ‖y − ȳ‖², on held-out tokens without massive ones",
    "val/fvu_with_massive": "the same with massive ones",
    "val/tokens": "held-out tokens it was scored on",
    "val/massive_tokens": "held-out tokens of outlying norm",
    "l0": "active latents per token",
    "dead_pct": "% of latents that fired on none of the last training tokens (`dead_window_tokens`)",
}
DATA = {
    "model": "language model", "hookpoint": "place in it", "dataset": "text", "dataset_config": "its configuration",
    "dataset_split": "its split", "context_length": "tokens per sequence", "train_tokens": "training tokens",
    "epochs": "passes over them",
    "val_tokens": "held-out tokens, of other documents", "exclude_first": "first positions left out",
    "massive_multiple": "tokens left out of training: norm, in medians, above",
}  # fmt: skip
TRAINING = {
    "batch_tokens": "tokens per step", "lr": "peak learning rate of Adam", "warmup_steps": "warm-up steps",
    "auxk_alpha": "weight of the AuxK loss", "dead_window_tokens": "window for dead latents, tokens", "seed": "seed",
}  # fmt: skip


def model_card(coder: Coder, run: Mapping[str, Mapping[str, object]] | None = None, licence: str | None = None) -> str:
    """The card, in Markdown with the hub's front matter; what `run` does not say is left out.

    `run` may hold `params` and `metrics`, by the names that a sweep gives them (an MLflow run has both); `licence` is
    the hub's identifier of one (`mit`), or None where none was chosen. Paths on this machine are cut to their last
    part. `base_model` and `datasets` are not set: a name alone does not tell whether it is the hub's. Raises
    ValueError for other keys in `run`.
    """
    run = run or {}
    if unknown := sorted(run.keys() - {"params", "metrics"}):
        raise ValueError(f"run {', '.join(unknown)}: allowed are params, metrics")
    params, metrics = run.get("params", {}), run.get("metrics", {})
    cfg = coder.cfg
    shape: dict[str, object] = {
        "variant": cfg.variant, "input width": coder.d_in, "latents": coder.num_latents, "active per token, k": cfg.k,
        "dtype": str(coder.W_dec.dtype).removeprefix("torch."),
    }  # fmt: skip
    shape |= {name: getattr(cfg, name) for name in ("detach_residual", "residual_threshold") if getattr(cfg, name)}
    sections = [
        ("Coder", _table(shape.items())),
        ("Scores", _table((f"{name}: {what}", metrics[name]) for name, what in METRICS.items() if name in metrics)),
        ("Data", _table((what, params[name]) for name, what in DATA.items() if _known(params, name))),
        ("Training", _table((what, params[name]) for name, what in TRAINING.items() if _known(params, name))),
        ("How to load", _how_to_load(coder)),
        ("Licence", licence or "None was stated; `license:` in the front matter of this file is the place for one."),
    ]
    kind = "transcoder" if cfg.recipe.transcode else "sparse autoencoder"
    where = (
        f" at {_text(params['hookpoint'])} of {_text(params['model'])}"
        if params.keys() >= {"hookpoint", "model"}
        else ""
    )
    opening = f"# {kind.capitalize()} `{cfg.variant}`, {coder.num_latents:,} latents{where}"
    body = "\n\n".join([opening, *(f"## {title}\n\n{text}" for title, text in sections if text)])
    return f"{_front_matter(kind.replace(' ', '-'), licence)}\n{body}\n"


def card_on_hub(card: str, repo_id: str, hookpoint: str | None) -> str:
    """A card whose example loads the coder from the hub."""
    arguments = ", ".join(json.dumps(text) for text in (repo_id, hookpoint) if text)
    return card.replace(LOAD_HERE, f"coder = SparseCoder.load_from_hub({arguments})")


def index_card(card: str, repo_id: str) -> str:
    """The card of a repository with a folder per hookpoint, from that of its first coder."""
    _, fence, rest = card.partition("---\n")
    front, _, _ = rest.partition(fence or "\0")
    return (
        f"---\n{front if fence else ''}---\n\n# {repo_id.split('/')[-1]}\n\n"
        "Sparse coders, one in each folder, with a card of its own beside it. With pursuit-lab:\n\n```python\n"
        f"from models import SparseCoder\n\ncoder = SparseCoder.load_from_hub({json.dumps(repo_id)}, FOLDER)\n```\n"
    )


def _front_matter(tag: str, licence: str | None) -> str:
    lines = [f"license: {json.dumps(licence)}"] if licence else []
    return "\n".join(["---", *lines, "library_name: pursuit-lab", "tags:", f"- {tag}", "---", ""])


def _known(params: Mapping[str, object], name: str) -> bool:
    """Whether a parameter was given; MLflow has everything as text."""
    return params.get(name) not in (None, "None")


def _table(rows: Iterable[tuple[str, object]]) -> str:
    lines = [f"| {name} | {_text(value)} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines]) if lines else ""


def _text(value: object) -> str:
    """A value for a cell of a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = " ".join(str(value).replace("|", "\\|").split())
    return text.rstrip("/").rpartition("/")[2] if text.startswith(("/", "~", "./", "../")) else text


def _how_to_load(coder: Coder) -> str:
    skip = ", x" if coder.cfg.recipe.skip else ""
    text = f"""With pursuit-lab, from the folder of this file (`x` stands for activations, `[tokens, {coder.d_in}]`):

```python
import torch
from models import SparseCoder

{LOAD_HERE}
x = torch.randn(8, {coder.d_in})
acts, indices, _ = coder.encode(x)  # [tokens, k]
y = coder.decode(acts, indices{skip})
```"""
    if coder.cfg.variant == "topk":
        text += """

With [sparsify](https://github.com/EleutherAI/sparsify), which has the same layout:

```python
import sparsify

theirs = sparsify.SparseCoder.load_from_disk(".")
```"""
    if coder.cfg.variant in ("topk", "mp-tied"):
        text += """

With [SAELens](https://github.com/decoderesearch/SAELens), after writing it the way SAELens does:

```python
import sae_lens

coder.save_to_saelens("saelens")
theirs = sae_lens.SAE.load_from_disk("saelens")
```"""
    return text
