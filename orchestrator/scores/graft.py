"""Faithfulness: what becomes of a language model's predictions when a reconstruction takes the place of the original.

Shape suffixes: N sequences, L positions, D width of the hookpoint, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models import SparseCoder
from orchestrator.language_models.hookpoints import replaced
from orchestrator.language_models.loading import LanguageModel

Change = Callable[[Tensor, Tensor], Tensor]
"""From the values of a hookpoint's source and of the hookpoint, [N, L, D], to what takes the latter's place."""

BATCH_TOKENS = 1024
"""Tokens whose log probabilities are in memory at once, twice: 0.4 GB for a vocabulary of 50,000."""


@dataclass(frozen=True)
class Place:
    """Where in the model a coder belongs."""

    hookpoint: str
    source: str
    """What the coder reads: the hookpoint itself, or the input of the module that a transcoder replaces."""


def reconstruct(coder: SparseCoder) -> Change:
    """The coder's reconstruction in the place of what it reconstructs."""

    def change(x_NLD: Tensor, y_NLD: Tensor) -> Tensor:
        device = coder.W_dec.device
        out: Tensor = coder(x_NLD.flatten(0, 1).to(device)).sae_out
        return out.view(y_NLD.shape).to(y_NLD.device)

    return change


def always(value_D: Tensor) -> Change:
    """The same value everywhere: zero- and mean-ablation."""
    return lambda _, y_NLD: value_D.to(y_NLD).expand_as(y_NLD)


@dataclass
class Losses:
    """Sums over positions, in nats."""

    cross_entropy: float = 0.0
    """Of the next token; the last position of a sequence has none."""
    kl: float = 0.0
    """From the original predictions to these."""


@torch.no_grad()
def losses(
    model: LanguageModel, place: Place, changes: Mapping[str, Change], tokens_NL: Tensor, keep_NL: Tensor
) -> dict[str, Losses]:
    """Mean losses with each of the changes, and of the model as it is under the name `original`.

    Only the positions that `keep_NL` (bool) marks are changed; losses are means over all.
    """
    sums = {name: Losses() for name in ("original", *changes)}
    rows = max(1, BATCH_TOKENS // tokens_NL.shape[1])
    for start in range(0, len(tokens_NL), rows):
        tokens = tokens_NL[start : start + rows].to(model.device, torch.long)
        keep = keep_NL[start : start + rows].to(model.device)
        original_NLV = model.log_probabilities(tokens)
        for name, total in sums.items():
            if name == "original":
                found_NLV = original_NLV
            else:
                with replaced(model.base, place.hookpoint, place.source, _where(keep, changes[name])):
                    found_NLV = model.log_probabilities(tokens)
                total.kl += float((original_NLV.exp() * (original_NLV - found_NLV)).sum(dtype=torch.float64))
            of_next = found_NLV[:, :-1].gather(-1, tokens[:, 1:, None])
            total.cross_entropy -= float(of_next.sum(dtype=torch.float64))
    sequences, length = tokens_NL.shape
    return {
        name: Losses(total.cross_entropy / (sequences * (length - 1)), total.kl / (sequences * length))
        for name, total in sums.items()
    }


def _where(keep_NL: Tensor, change: Change) -> Change:
    return lambda x_NLD, y_NLD: torch.where(keep_NL[..., None], change(x_NLD, y_NLD).to(y_NLD.dtype), y_NLD)


def faithfulness(
    model: LanguageModel, coder: SparseCoder, place: Place, mean_D: Tensor, tokens_NL: Tensor, keep_NL: Tensor
) -> dict[str, float]:
    """What SAELens 6.54 reports of a grafted coder (`evals.py`), under its names, and the same against mean-ablation.

    `ce_loss_score` is the share of the loss by zero-ablation that the coder recovers: 1 as good as the original, 0 as
    bad as the ablation. `_mean` names have `mean_D`, the mean of the hookpoint [D], in the place of zero.
    """
    changes = {"sae": reconstruct(coder), "ablation": always(torch.zeros_like(mean_D)), "mean_ablation": always(mean_D)}
    return scores(losses(model, place, changes, tokens_NL, keep_NL))


def scores(found: Mapping[str, Losses]) -> dict[str, float]:
    """The figures of `faithfulness` from the losses of its three changes."""
    sae, original = found["sae"], found["original"].cross_entropy
    performance = {"ce_loss_without_sae": original}
    behaviour: dict[str, float] = {}
    for name in ("sae", "ablation", "mean_ablation"):
        performance[f"ce_loss_with_{name}"] = found[name].cross_entropy
        behaviour[f"kl_div_with_{name}"] = found[name].kl
    for name, suffix in (("ablation", ""), ("mean_ablation", "_mean")):
        floor = found[name]
        performance[f"ce_loss_score{suffix}"] = _share(
            floor.cross_entropy - sae.cross_entropy, floor.cross_entropy - original
        )
        behaviour[f"kl_div_score{suffix}"] = _share(floor.kl - sae.kl, floor.kl)
    groups = {"model_performance_preservation": performance, "model_behavior_preservation": behaviour}
    return {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
