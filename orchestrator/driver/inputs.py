"""What a sweep runs on: the tokens of each model, and the proof on --resume that neither has changed."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.atomic import atomic_file
from orchestrator.errors import UserError
from orchestrator.grid.config import SweepConfig
from orchestrator.language_models.loading import embedding_rows, fingerprint, load_tokenizer
from orchestrator.saved import read_json
from orchestrator.storage.address import home_of
from orchestrator.text.sources import describe
from orchestrator.text.token_blocks import TokenBlocks, tokenise

INPUTS_FILE = "inputs.json"
"""What model and tokens the sweep began with."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """The tokens of one model, and what identifies them and it."""

    model: str
    blocks: TokenBlocks
    identity: dict[str, str]

    @property
    def location(self) -> str:
        """The model's name from any working directory."""
        return str(Path(self.model).resolve()) if Path(self.model).is_dir() else self.model

    def blocks_file(self, split: str) -> Path:
        """The .npy file behind the memory-mapped blocks of a split."""
        return Path(getattr(self.blocks, split).filename).resolve()


def gather_inputs(cfg: SweepConfig, directory: Path) -> dict[str, Inputs]:
    """What the sweep in `directory` runs on, by model. Raises UserError, also where it began with something else."""
    inputs = {model: inputs_of(cfg, model) for model in cfg.model}
    check_inputs(directory, {model: found.identity for model, found in inputs.items()})
    return inputs


def inputs_of(cfg: SweepConfig, model: str) -> Inputs:
    """Tokenise for one model, or find the tokens of an earlier time. Raises UserError."""
    log.info("tokenising %s for %s", describe(cfg.text_config()), model)
    blocks = tokenise(
        cfg.text_config(), load_tokenizer(model), context_length=cfg.context_length, train_tokens=cfg.train_tokens,
        val_tokens=cfg.val_tokens, out_dir=home_of(cfg.storage) / "tokens",
    )  # fmt: skip
    largest = max(int(split.max()) for split in (blocks.train, blocks.val))
    if largest >= (rows := embedding_rows(model)):
        raise UserError(
            f"model {model!r}: its tokenizer gives ids up to {largest}, its embedding has {rows} rows; "
            "take the tokenizer that belongs to these weights"
        )
    identity = {"model.fingerprint": fingerprint(model), "tokens.fingerprint": blocks.fingerprint}
    return Inputs(model, blocks, identity)


def check_inputs(directory: Path, identities: dict[str, dict[str, str]]) -> None:
    """Note what the sweep runs on; a resumed one must run on the same. Raises UserError."""
    path = directory / INPUTS_FILE
    if not path.is_file():
        with atomic_file(path, durable=True) as unfinished:
            unfinished.write_text(json.dumps(identities, indent=2), encoding="utf-8")
    elif (before := read_json(path, "remove it if model and text are what they were")) != identities:
        changed = [
            f"{what.partition('.')[0]} of {model}"
            for model in identities for what in identities[model]
            if _said(before, model).get(what) != identities[model][what]
        ]  # fmt: skip
        raise UserError(f"resume {directory.name!r}: the {', '.join(changed)} changed since the sweep began")


def _said(before: dict[str, Any], model: str) -> dict[str, Any]:
    identity = before.get(model)
    return identity if isinstance(identity, dict) else {}
