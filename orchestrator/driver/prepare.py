"""What is checked and predicted before a sweep begins: text, hookpoints, grid, hardware, cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.errors import UserError
from orchestrator.grid.cells import Cell, cells
from orchestrator.grid.config import SweepConfig
from orchestrator.grid.hardware import Hardware
from orchestrator.grid.plan import NOT_SCORED, Plan, Scoring, make_plan
from orchestrator.grid.shares import Shares, share
from orchestrator.language_models.hookpoints import Hookpoint
from orchestrator.language_models.loading import check_model, resolve_hookpoints
from orchestrator.scores import inference
from orchestrator.scores.llm import check_llm
from orchestrator.scores.protocol import PROTOCOLS
from orchestrator.text.sources import check_text


@dataclass(frozen=True)
class Prepared:
    """A sweep that was checked as far as possible without loading a model."""

    cfg: SweepConfig
    hookpoints: dict[str, list[Hookpoint]]
    """What is extracted from each model: the hookpoints of the grid, and the inputs that transcoders read."""
    cells: list[Cell]
    hardware: Hardware
    shares: Shares
    plan: Plan


def prepare(cfg: SweepConfig, hardware: Hardware) -> Prepared:
    """Check everything that needs no weights and predict the cost. Raises UserError."""
    check_text(cfg.text_config())
    if cfg.explainer is not None:
        check_llm(cfg.explainer)
    for model in cfg.model:
        check_model(model, cfg.context_length)
    asked, hookpoints = {}, {}
    for model in cfg.model:
        with _named(model, cfg):
            asked[model] = resolve_hookpoints(model, cfg.hookpoint)
    grid = cells(cfg, asked)
    for model, points in asked.items():
        with _named(model, cfg):
            hookpoints[model] = _extracted(model, points, grid)
    shares = share(hardware, cfg.gpus_per_trial, len(cfg.model))
    plan = make_plan(cfg, grid, hookpoints, hardware, shares, _scoring(cfg))
    return Prepared(cfg, hookpoints, grid, hardware, shares, plan)


def _scoring(cfg: SweepConfig) -> Scoring:
    """How much is scored of each trial."""
    if cfg.scores == "none":
        return NOT_SCORED
    protocol = PROTOCOLS[cfg.scores]
    if not protocol.draws:
        return Scoring(0, 0, inference_tokens=min(inference.TOKENS, cfg.val_tokens))
    return Scoring(protocol.draws * protocol.latents_per_draw, protocol.graft_tokens)


@contextmanager
def _named(model: str, cfg: SweepConfig) -> Iterator[None]:
    """Add to a UserError which of several models it is about."""
    try:
        yield
    except UserError as error:
        if len(cfg.model) == 1 or f"model {model!r}" in str(error):
            raise
        raise UserError(f"{error}; that is model {model!r}, and every trial must fit all models") from None


def _extracted(model: str, asked: list[Hookpoint], grid: list[Cell]) -> list[Hookpoint]:
    """The hookpoints of one model that its trials read. Raises UserError for a transcoded module of two widths."""
    ours = [cell for cell in grid if cell.model == model]
    found = {point.name: point for point in asked}
    if inputs := sorted({cell.source for cell in ours} - found.keys()):
        found |= {point.name: point for point in resolve_hookpoints(model, inputs)}
    for cell in ours:
        if (width := found[cell.source].width) != cell.d_in:
            raise UserError(
                f"variant {cell.variant!r}: needs as many inputs as outputs, and {cell.hookpoint!r} has {width} and "
                f"{cell.d_in}"
            )
    return list(found.values())
