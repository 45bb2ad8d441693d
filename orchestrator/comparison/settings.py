"""What differs between sweeps beside their grids, and what that means for how their trials are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.grid.config import AXES
from orchestrator.tracking.records import TrialRecord

MODEL = ("model.fingerprint",)
"""Where it differs, one name stands for two models."""
FINGERPRINT = "tokens.fingerprint"
TEXT = (
    "dataset", "dataset_config", "dataset_split", "text_column", "context_length", "train_tokens", "val_tokens",
)  # fmt: skip
"""What the fingerprint of tokens follows from; of `train_tokens` too, since what is held out is a share of all text."""
KEPT = ("exclude_first", "massive_multiple")
"""Which of the tokens are trained on and measured."""
ORDER = ("shard_tokens",)
"""What the order of training tokens follows from, beside the text and a trial's seed."""
SCORING = ("scores", "explainer", "scorer")
"""What is done with a coder once it is trained."""

Settings = Mapping[str, str]


@dataclass(frozen=True)
class Differences:
    """Settings that are not the same in all sweeps."""

    values: dict[str, dict[str, tuple[str, ...]]]
    """By setting and sweep: the values of its trials, each once."""
    unrecorded: dict[str, tuple[str, ...]]
    """By sweep, settings that others have and it has not, as where an older version made it."""


def differences(sweeps: Mapping[str, Sequence[TrialRecord]]) -> Differences:
    """What tells sweeps apart, axes of the grid first; `sweeps` are records by name."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for name, records in sweeps.items():
        for record in records:
            for key, value in {**{axis: str(getattr(record, axis)) for axis in AXES}, **record.settings}.items():
                found.setdefault(key, {}).setdefault(name, {})[value] = None
    values: dict[str, dict[str, tuple[str, ...]]] = {}
    unrecorded: dict[str, list[str]] = {name: [] for name in sweeps}
    for key, by_sweep in found.items():
        if len({frozenset(given) for given in by_sweep.values()}) > 1:
            values[key] = {name: tuple(given) for name, given in by_sweep.items()}
        for name in sweeps.keys() - by_sweep.keys():
            unrecorded[name].append(key)
    return Differences(values, {name: tuple(sorted(keys)) for name, keys in unrecorded.items() if keys})


def unlike(one: Settings, other: Settings, keys: Sequence[str]) -> list[str]:
    """Those of `keys` that both have, with another value each."""
    return [key for key in keys if key in one and key in other and one[key] != other[key]]


def elsewhere(one: Settings, other: Settings) -> list[str]:
    """Settings by which two trials are of two models (it comes first), or measured on other held-out tokens."""
    same_tokens = FINGERPRINT in one and one[FINGERPRINT] == other.get(FINGERPRINT)
    return unlike(one, other, (*MODEL, FINGERPRINT, *(() if same_tokens else TEXT), *KEPT))


def same_order(one: Settings, other: Settings) -> bool:
    """Whether one seed gives trials with these settings the same tokens in the same order."""
    return not elsewhere(one, other) and not unlike(one, other, ORDER)


def same_training(one: Settings, other: Settings) -> bool:
    """Whether trials with these settings are the same trial where their axes are; not where nothing is known of one."""
    shared = (one.keys() & other.keys()) - {*SCORING}
    return bool(shared) and not unlike(one, other, sorted(shared))
