"""Trained coders of a sweep, to be read by a person's own code: the coder, its model, the held-out text, its latents.

Shape suffixes: N sequences, L positions, K active latents per token.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models import SparseCoder
from orchestrator.activations.excluded_tokens import massive_tokens, usable_tokens
from orchestrator.errors import UserError
from orchestrator.grid.cells import Cell, cells
from orchestrator.grid.config import SweepConfig
from orchestrator.language_models.loading import LanguageModel, load_tokenizer, resolve_hookpoints
from orchestrator.saved import read_json
from orchestrator.scores import table
from orchestrator.scores.latent_page import comparison_page
from orchestrator.scores.latents import CoderPage, LatentSummary
from orchestrator.scores.pages import page_of
from orchestrator.scores.statistics import Difference, compare
from orchestrator.text.block_files import read_blocks
from orchestrator.trials.results import CODER_DIRECTORY, SCORES_DIRECTORY, result_of, scores_of


class ActiveLatents(NamedTuple):
    """What a coder chooses for each token."""

    values: Tensor
    """Activations in the coder's own units, [N, L, K]; 0 at the positions that no coder is trained on."""
    latents: Tensor
    """Latents, [N, L, K] int64."""


@dataclass(frozen=True)
class TrainedTrial:
    """One trained coder and what it was trained on."""

    directory: Path
    cell: Cell
    """Model, hookpoint, k, expansion factor, variant and seed."""
    sweep: SweepConfig
    result: dict[str, Any]
    """Its final metrics, such as `val/fvu`."""

    @cached_property
    def coder(self) -> SparseCoder:
        """The coder, on the CPU; its inputs and outputs are in the units of the model."""
        return SparseCoder.load_from_disk(self.directory / CODER_DIRECTORY).requires_grad_(False)

    @cached_property
    def language_model(self) -> LanguageModel:
        """The model whose activations it reads."""
        return LanguageModel.load(self.cell.model)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return load_tokenizer(self.cell.model)

    def held_out_tokens(self) -> Tensor:
        """The text that no coder of the sweep was trained on, [N, L] int64. Raises UserError where it was removed."""
        path, remedy = self.directory.parents[1] / "inputs.json", "its sweep cannot be read without it"
        of_model = read_json(path, remedy).get(self.cell.model)
        if not isinstance(of_model, dict) or "tokens.fingerprint" not in of_model:
            raise UserError(f"{path}: is damaged (it does not say which tokens); {remedy}")
        for found in sorted((self.directory.parents[2] / "tokens").glob("tokens-*/tokens.json")):
            removed = f"remove {found.parent}; --resume makes it again"
            if read_json(found, removed).get("fingerprint") == of_model["tokens.fingerprint"]:
                try:
                    return torch.from_numpy(read_blocks(found.with_name("val.npy")).astype(np.int64))
                except (OSError, ValueError) as error:
                    raise UserError(f"{found.parent}: its blocks are damaged ({error}); {removed}") from None
        raise UserError(
            f"storage {str(self.directory.parents[2])!r}: has the sweep's tokens no more; --resume makes them"
        )

    def activations(self, tokens_NL: Tensor) -> ActiveLatents:
        """The latents that the coder chooses for any tokens of the model, [N, L] integers.

        First positions and massive tokens are left out as in training; massive is measured over these tokens.
        """
        x_NLD = self.language_model.capture(tokens_NL, [self.cell.source])[self.cell.source].float()
        encoded = self.coder.encode(x_NLD.flatten(0, 1))
        values = torch.where(self._ordinary(x_NLD)[:, None], encoded.latent_acts, 0.0)
        return ActiveLatents(values.view(*tokens_NL.shape, -1), encoded.latent_indices.view(*tokens_NL.shape, -1))

    def _ordinary(self, x_NLD: Tensor) -> Tensor:
        norms = x_NLD.flatten(0, 1).norm(dim=1).numpy()
        position_T = np.tile(np.arange(x_NLD.shape[1]), len(x_NLD))
        usable_T = usable_tokens(position_T, self.sweep.exclude_first)
        return torch.from_numpy(usable_T & ~massive_tokens([norms], usable_T, self.sweep.massive_multiple))

    def latents(self) -> tuple[LatentSummary, ...]:
        """The latents that were scored, with contexts, scores and neighbours. Raises UserError where none were."""
        return table.summaries(self.table_of_latents)

    @property
    def table_of_latents(self) -> Path:
        """`latents.parquet`, a row for each latent and scorer. Raises UserError where none was scored."""
        path = self.directory / SCORES_DIRECTORY / table.FILE
        if not path.is_file():
            raise UserError(f"trial {self.cell.name!r}: is not scored; sweeps/autointerp.py does it")
        return path

    def page(self) -> CoderPage:
        """The data of its page of latents. Raises UserError where none was scored."""
        scores = scores_of(self.directory) or {"metrics": {}}
        return page_of(self.table_of_latents, self.cell, scores["metrics"], self.result)


def differences(one: TrainedTrial, other: TrainedTrial) -> dict[str, Difference]:
    """By scorer, the mean score of one trial's latents minus that of another's, of any sweeps, with intervals.

    Of all latents, and of pairs of like firing rates. Raises UserError where one is not scored.
    """
    paths = one.table_of_latents, other.table_of_latents
    both = [scorer for scorer in table.scorers(paths[0]) if scorer in table.scorers(paths[1])]
    return {scorer: compare(*(table.population(path, scorer) for path in paths)) for scorer in both}


def write_comparison(one: TrainedTrial, other: TrainedTrial, file: Path | str) -> None:
    """A page of two trials beside each other. Raises UserError where one is not scored, or the file exists."""
    if Path(file).exists():
        raise UserError(f"file {str(file)!r}: exists; give another name")
    Path(file).write_text(comparison_page(one.page(), other.page()), encoding="utf-8")


def trials(sweep: Path | str) -> list[TrainedTrial]:
    """The trained trials of the sweep in a directory, such as `runs/NAME`, the lowest held-out FVU first.

    Raises UserError where there is no sweep.
    """
    directory = Path(sweep)
    if not (directory / "sweep.json").is_file():
        raise UserError(f"sweep {str(directory)!r}: no sweep there; give its directory, such as runs/NAME")
    cfg = SweepConfig.from_json((directory / "sweep.json").read_bytes())
    grid = cells(cfg, {model: resolve_hookpoints(model, cfg.hookpoint) for model in cfg.model})
    found = [(cell, directory / "trials" / cell.name) for cell in grid]
    trained = [
        TrainedTrial(place.resolve(), cell, cfg, result)
        for cell, place in found
        if (result := result_of(place)) is not None and "failure" not in result
    ]
    return sorted(trained, key=lambda trial: trial.result["val/fvu"])


def best_trial(sweep: Path | str, **axes: object) -> TrainedTrial:
    """The trained trial of the lowest held-out FVU, of those with the given `axes` (hookpoint, k, variant, seed, ...).

    FVU compares coders of one hookpoint, so name one where a sweep has several. Raises UserError where none fits.
    """
    there = trials(sweep)
    if unknown := axes.keys() - set(SweepConfig.axes):
        raise UserError(f"{min(unknown)}: is no axis of a sweep; allowed are {', '.join(SweepConfig.axes)}")
    fitting = [trial for trial in there if all(getattr(trial.cell, axis) == value for axis, value in axes.items())]
    if not fitting:
        names = ", ".join(trial.cell.name for trial in there) or "none"
        raise UserError(f"sweep {str(sweep)!r}: no trained trial with {axes}; there are {names}")
    return fitting[0]
