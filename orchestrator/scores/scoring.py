"""Scores of one trained trial, from its coder on disk to a file of figures and a table of latents."""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models import SparseCoder
from orchestrator.activations.shards import Shards
from orchestrator.language_models.loading import LanguageModel, default_device, load_tokenizer
from orchestrator.names import digest
from orchestrator.scores import dictionary, graft, inference, pages, table
from orchestrator.scores.activations import activations_of, draw
from orchestrator.scores.autointerp import Autointerp, Scored, ScoredFile
from orchestrator.scores.describe import describe
from orchestrator.scores.examples import Examples, TokenTexts
from orchestrator.scores.held_out import HeldOutTokens
from orchestrator.scores.latent_page import latents_page
from orchestrator.scores.llm import make_client
from orchestrator.scores.protocol import LATENTS, Protocol
from orchestrator.scores.reconstruction import Firing, Reconstruction, reconstruction
from orchestrator.scores.scorers import CHANCE
from orchestrator.scores.statistics import Population
from orchestrator.trials.results import CODER_DIRECTORY, SCORES_DIRECTORY, keep_scores, result_of, scores_of
from orchestrator.trials.trial import TrialJob

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoringJob:
    """Everything that scoring a trial needs, as JSON can carry it."""

    trial: TrialJob
    model: str
    """Where the language model is found from any process."""
    protocol: Protocol
    """How much is scored."""

    def to_json(self) -> dict[str, Any]:
        """What Ray hands to the process that scores."""
        return {**vars(self), "trial": self.trial.to_json(), "protocol": asdict(self.protocol)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ScoringJob":
        """Inverse of `to_json`."""
        given = {"trial": TrialJob.from_json(content["trial"]), "protocol": Protocol(**content["protocol"])}
        return cls(**{**content, **given})

    @property
    def scored_file(self) -> Path:
        """Latents as they were scored; other examples or another LLM make other scores."""
        return self.directory / f"scored-{digest(repr((self.protocol, self.trial.sweep.explainer)))}.jsonl"

    @property
    def directory(self) -> Path:
        """Where it all goes."""
        return self.trial.directory / SCORES_DIRECTORY


@functools.lru_cache(maxsize=1)
def _language_model(model: str) -> LanguageModel:
    """Kept for the next trial that is scored in this process."""
    return LanguageModel.load(model)


def score(job: ScoringJob, reader: Shards, tokens_NL: np.ndarray) -> None:
    """Score a trial on held-out tokens, int32; what is scored already is not scored again.

    Raises what the model, the coder or an LLM raises.
    """
    sweep = job.trial.sweep
    coder = SparseCoder.load_from_disk(job.trial.directory / CODER_DIRECTORY, default_device())
    coder.requires_grad_(False)
    held_out = HeldOutTokens(reader, sweep.shards("val"), sweep.batch_tokens)
    before = scores_of(job.trial.directory) or {"metrics": {}}
    if not job.protocol.draws:
        figures = before["metrics"] | inference.metrics(coder, held_out, sweep.k)
        keep_scores(job.trial.directory, before | {"metrics": figures, "times": _times(job)})
        return
    kept = {name: value for name, value in before["metrics"].items() if name.startswith(inference.PREFIX)}
    found = reconstruction(coder, held_out, tokens_NL.size)
    figures = (
        kept | found.metrics() | dictionary.metrics(coder, found.firing) | _faithfulness(job, coder, found, tokens_NL)
    )
    texts = TokenTexts(load_tokenizer(job.model))
    scored = _latents(job, coder, found.firing, held_out, tokens_NL, texts)
    summaries = describe(coder, _language_model(job.model), scored, found.firing, texts)
    latents_file = job.directory / table.FILE
    table.write(latents_file, scored, summaries)
    populations = {scorer: table.population(latents_file, scorer) for scorer in table.scorers(latents_file)}
    figures |= _summaries(populations, scored)
    page = pages.page_of(latents_file, job.trial.cell, figures, result_of(job.trial.directory) or {})
    (job.directory / pages.FILE).write_text(latents_page(page), encoding="utf-8")
    more = {"firing_rates": dictionary.firing_rates(found.firing), **_details(coder, populations)}
    keep_scores(job.trial.directory, {"metrics": figures, "times": _times(job), **more})


def _times(job: ScoringJob) -> int:
    """How often the trial has been scored, this time included."""
    return int((scores_of(job.trial.directory) or {"times": 0})["times"]) + 1


def _faithfulness(
    job: ScoringJob, coder: SparseCoder, found: Reconstruction, tokens_NL: np.ndarray
) -> dict[str, float]:
    model, cell = _language_model(job.model), job.trial.cell
    if not model.predicts:
        log.warning("no faithfulness of %s: the checkpoint of its model has no head", cell.name)
        return {}
    sequences = max(1, job.protocol.graft_tokens // tokens_NL.shape[1])
    tokens = torch.from_numpy(tokens_NL[:sequences].astype(np.int64))
    keep_NL = found.ordinary_T[: tokens.numel()].view(tokens.shape)
    return graft.faithfulness(model, coder, graft.Place(cell.hookpoint, cell.source), found.mean_D, tokens, keep_NL)


def _latents(
    job: ScoringJob,
    coder: SparseCoder,
    firing: Firing,
    held_out: HeldOutTokens,
    tokens_NL: np.ndarray,
    texts: TokenTexts,
) -> list[Scored]:
    protocol, seed = job.protocol, job.trial.cell.seed
    draws = draw(firing, protocol.draws, protocol.latents_per_draw, seed)
    wanted = [latent for latents in draws for latent in latents]
    activations = activations_of(coder, held_out, wanted, protocol.tokens, tokens_NL.size)
    sequences = max(1, protocol.tokens // tokens_NL.shape[1])
    examples = Examples(tokens_NL[:sequences], texts, protocol)
    explainer = job.trial.sweep.explainer
    client = make_client(explainer) if explainer else None
    autointerp = Autointerp(job.trial.cell.name, examples, job.trial.sweep.scorers, client, seed)
    return autointerp.run(draws, activations, ScoredFile(job.scored_file))


def _summaries(populations: Mapping[str, Population], scored: Sequence[Scored]) -> dict[str, float]:
    """`autointerp/SCORER/FIGURE`, and how many latents were drawn and could not be scored."""
    found = {
        LATENTS: float(len(scored)),
        "autointerp/too_few_examples": float(sum(not each.scores for each in scored)),
    }
    for scorer, population in populations.items():
        summary = population.summary(CHANCE[scorer]) | {"chance": CHANCE[scorer]}
        answers = [each.scores[scorer] for each in scored if scorer in each.scores]
        asked = sum(answer.answers + answer.unparseable for answer in answers)
        summary["unparseable_pct"] = 100.0 * sum(answer.unparseable for answer in answers) / max(asked, 1)
        found |= {f"autointerp/{scorer}/{figure}": value for figure, value in summary.items()}
    return found


def _details(coder: SparseCoder, populations: Mapping[str, Population]) -> Mapping[str, Any]:
    """Means with intervals by firing rate, and by when a pursuit chooses a latent."""
    details = {"by_firing_rate": {scorer: each.by_rate() for scorer, each in populations.items()}}
    if coder.cfg.recipe.choice == "pursuit":
        details["by_step"] = {scorer: each.by_step(coder.cfg.k) for scorer, each in populations.items()}
    return details
