"""The cells of a grid and what each is predicted to cost."""

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kernels import devices
from kernels.backend import backend_of
from kernels.forms import Rates, best_form, refit_form
from kernels.rules import Rules
from models import SparseCoderConfig
from orchestrator.errors import UserError
from orchestrator.grid.base_config import BaseConfig
from orchestrator.grid.config import AXES
from orchestrator.language_models.hookpoints import INPUT, Hookpoint
from orchestrator.names import cut, digest, plain

SPARSE_FLOPS = 250
"""Time per active latent and input coordinate in decode and backward, counted in the flops of a bfloat16 matrix product
that take as long: it is bound by memory. Measured on one Zen 4 core, 1.2 ns."""
WEIGHT_FLOPS = 2750
"""The same per number of a matrix in normalisation, gradients and optimiser: 13 ns."""
REFIT_SPARSE = 3
"""Times a refit goes over all active latents at every choice, in units of one decode and its backward."""


@dataclass(frozen=True)
class Costs:
    """What work costs where trials run, in flops of a matrix product there."""

    rates: Rates
    """Of the forms of a pursuit."""
    entry: float
    """Of an active latent's coordinate in decode and backward."""
    weight: float
    """Of a number of a matrix in normalisation, gradients and optimiser."""


def costs(gpu: bool) -> Costs:
    """On a GPU, of this machine's kind where it has one, or on a CPU like this machine's."""
    if not gpu:
        like = torch.empty(0)
        return Costs(backend_of(like).rates(like), SPARSE_FLOPS, WEIGHT_FLOPS)
    return sheet_costs(devices.this_sheet())


def sheet_costs(sheet: devices.Sheet) -> Costs:
    """On a GPU of that sheet."""
    return Costs(sheet.rates, sheet.passes(devices.SPARSE_PASSES), sheet.passes(devices.WEIGHT_PASSES))


@dataclass(frozen=True)
class Cell:
    """One trial of a grid."""

    model: str
    hookpoint: str
    k: int
    expansion_factor: int
    variant: str
    seed: int
    d_in: int
    place: str = ""
    """What stands for model and hookpoint in `name`; `_place` of them unless given."""
    lr: float = BaseConfig.lr[0]
    """Peak learning rate."""
    lr_in_name: bool = False
    """Whether the grid has several."""

    @property
    def name(self) -> str:
        """Unique within a sweep and fit for a directory."""
        place = self.place or _place(self.model, self.hookpoint)
        rate = f"-lr{self.lr}" if self.lr_in_name else ""
        return cut(f"{place}-{self.variant}-k{self.k}-ef{self.expansion_factor}{rate}-s{self.seed}")

    @property
    def source(self) -> str:
        """Where the coder's input comes from: a transcoder reads the input of the module whose output it predicts."""
        return f"{self.hookpoint}{INPUT}" if self.coder.recipe.transcode else self.hookpoint

    @property
    def coder(self) -> SparseCoderConfig:
        """Architecture of this cell. Raises ValueError where it is impossible."""
        return SparseCoderConfig(variant=self.variant, expansion_factor=self.expansion_factor, k=self.k)

    @property
    def params(self) -> dict[str, Any]:
        """The grid's axes as logged to MLflow."""
        return {axis: getattr(self, axis) for axis in (*AXES, "lr")}

    def to_json(self) -> dict[str, Any]:
        """JSON form; `Cell(**...)` reads it back."""
        return asdict(self)

    def step_flops(self, batch_tokens: int, costs: Costs) -> float:
        """Predicted work of one optimiser step, in flops of a matrix product."""
        passes = 1.0 if self.coder.recipe.refit == "none" else REFIT_SPARSE * (self.k + 1) / 2
        sparse = costs.entry * batch_tokens * self.k * self.d_in * passes
        return self._choice(batch_tokens, costs.rates)[1] + sparse + costs.weight * self._weights

    def product_flops(self, batch_tokens: int, costs: Costs) -> float:
        """The part of `step_flops` that is matrix products; the rest is bound by memory, or by single instructions."""
        form, cost = self._choice(batch_tokens, costs.rates)
        latents = self.expansion_factor * self.d_in
        return 2.0 * latents * self.d_in * (batch_tokens + latents) if form == "update" else cost

    @property
    def _weights(self) -> int:
        """Numbers in all matrices of the coder."""
        recipe, latents = self.coder.recipe, self.expansion_factor * self.d_in
        decoders = self.k if recipe.step_decoders else 1
        matrices = (not recipe.tied) + decoders + (recipe.subtraction == "separate")
        return (matrices * latents + recipe.skip * self.d_in) * self.d_in

    def _choice(self, batch_tokens: int, rates: Rates) -> tuple[str, float]:
        """How latents would be chosen ("update" where H is built), and its cost in flops of a matrix product."""
        recipe, latents = self.coder.recipe, self.expansion_factor * self.d_in
        product = 2.0 * batch_tokens * latents * self.d_in
        if recipe.choice != "pursuit" or recipe.sliced:
            return "product", product
        if recipe.refit != "none":
            rows = rates.update * batch_tokens * latents * self.k * (self.k + 1) / 2
            form = refit_form(rates, latents, self.d_in, self.k, itemsize=4)
            by_rows = product + 2.0 * latents**2 * self.d_in + rows
            return form, by_rows if form == "update" else product * self.k
        rules = Rules(k=self.k, repeats=recipe.repeats)
        return best_form(rates, batch_tokens, latents, self.d_in, rules, per_step=recipe.step_decoders)

    def memory_bytes(self, batch_tokens: int, costs: Costs) -> int:
        """Predicted peak of one trial: weights, gradients, two Adam moments, the batch, and H where it is used."""
        needs_gram = self._choice(batch_tokens, costs.rates)[0] == "update"
        gram = (self.expansion_factor * self.d_in) ** 2 * costs.rates.gram_itemsize if needs_gram else 0
        return 4 * (4 * self._weights + 5 * batch_tokens * self.d_in) + gram


def _place(model: str, hookpoint: str, parts: int = 1) -> str:
    """Model and hookpoint in the letters of a file's name; of a model's path the last parts."""
    last = "/".join(model.rstrip("/").split("/")[-parts:])
    return f"{plain(last)}-{plain(hookpoint)}"


def _places(hookpoints: dict[str, list[Hookpoint]]) -> dict[tuple[str, str], str]:
    """What stands for model and hookpoint in names of trials; with a digest where two would share it."""
    pairs = [(model, point.name) for model, points in hookpoints.items() for point in points]
    uses = Counter(_place(*pair) for pair in pairs)
    return {
        pair: _place(*pair) if uses[_place(*pair)] == 1 else f"{_place(*pair, parts=2)}-{digest(repr(pair))}"
        for pair in pairs
    }


def _check_models(models: Iterable[str]) -> None:
    """Two ways to write one directory would train everything twice. Raises UserError."""
    seen: dict[str, str] = {}
    for model in models:
        if (twin := seen.setdefault(str(Path(model).resolve()) if Path(model).is_dir() else model, model)) != model:
            raise UserError(f"model {model!r}: is the same directory as {twin!r}")


def cells(cfg: BaseConfig, hookpoints: dict[str, list[Hookpoint]]) -> list[Cell]:
    """Every cell of the grid, longest first so that the last trial does not run alone.

    `hookpoints` are the resolved ones of each model. Raises UserError for an impossible cell, or a doubled model.
    """
    _check_models(hookpoints)
    places = _places(hookpoints)
    grid = [
        Cell(
            model,
            point.name,
            k,
            expansion_factor,
            variant,
            seed,
            point.width,
            places[model, point.name],
            lr=lr,
            lr_in_name=len(cfg.lr) > 1,
        )
        for model, points in hookpoints.items()
        for point, k, expansion_factor, variant, lr, seed in itertools.product(
            points, cfg.k, cfg.expansion_factor, cfg.variant, cfg.lr, cfg.seed
        )
    ]
    for cell in grid:
        try:
            cell.coder.latents(cell.d_in)
        except ValueError as error:
            raise UserError(f"{error} ({cell.expansion_factor} × {cell.d_in} at {cell.hookpoint})") from None
        if cell.coder.recipe.transcode and cell.hookpoint.endswith(INPUT):
            raise UserError(
                f"variant {cell.variant!r}: predicts a module's output from its input, so its hookpoint must be the "
                f"module, {cell.hookpoint.removesuffix(INPUT)!r}, not {cell.hookpoint!r}"
            )
    here = costs(torch.cuda.is_available())
    return sorted(grid, key=lambda cell: -cell.step_flops(cfg.batch_tokens, here))
