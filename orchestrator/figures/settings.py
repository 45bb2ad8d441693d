"""What the trials of a sweep share, and the machine they ran on, as the page lists them."""

from collections.abc import Mapping, Sequence

from orchestrator.grid.config import AXES
from orchestrator.tracking.journal import COMMAND
from orchestrator.tracking.records import TrialRecord

FIRST = (
    "dataset", "dataset_config", "dataset_split", "context_length", "train_tokens", "epochs", "val_tokens",
    "batch_tokens", "lr", "warmup_steps", "auxk_alpha",
)  # fmt: skip
"""Settings that a reader asks for first: the text, how much of it, how fast was learnt."""
MACHINE = {
    "host": "host", "cpu.model": "CPU", "cpu.count": "CPU cores", "gpu": "GPU", "mlflow.source.git.commit": "commit",
    COMMAND: "command",
}  # fmt: skip
"""Tags of a sweep's run, and what the page calls them."""
VERSION = "version."
"""What tags of versions begin with."""

Pairs = list[tuple[str, str]]


def settings_of(records: Sequence[TrialRecord]) -> tuple[Pairs, Pairs]:
    """Names and values: those that are asked for first, the grid's axes at their head, and all others.

    A setting that differs among the trials has all its values. Trials of older versions have fewer.
    """
    axes = [(axis, [str(getattr(record, axis)) for record in records]) for axis in AXES]
    names = {name for record in records for name in record.settings}
    found = {name: [record.settings[name] for record in records if name in record.settings] for name in sorted(names)}
    first = [(name, found.pop(name)) for name in FIRST if name in found]
    return [(name, _joined(values)) for name, values in axes + first if set(values) != {"None"}], [
        (name, _joined(values)) for name, values in found.items()
    ]


def machine_of(tags: Mapping[str, str]) -> Pairs:
    """Names and values of what a sweep ran on, of the tags of its run."""
    found = [(label, tags[tag]) for tag, label in MACHINE.items() if tag in tags]
    versions = [f"{tag.removeprefix(VERSION)} {text}" for tag, text in sorted(tags.items()) if tag.startswith(VERSION)]
    return found + ([("versions", ", ".join(versions))] if versions else [])


def _joined(values: Sequence[str]) -> str:
    """Each once; whole numbers of many digits in groups of three."""
    grouped = (f"{int(text):,}" if text.isdecimal() and len(text) < 16 else text for text in dict.fromkeys(values))
    return ", ".join(grouped) if len({*values}) == 1 else "; ".join(grouped)
