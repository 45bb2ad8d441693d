"""A trained coder scored from its files: figures that agree with each other, and going on where it was killed."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from models import SparseCoder
from orchestrator.grid.cells import Cell
from orchestrator.language_models.loading import LanguageModel
from orchestrator.scores import table
from orchestrator.scores.activations import activations_of, draw
from orchestrator.scores.held_out import HeldOutTokens
from orchestrator.scores.protocol import PROTOCOLS, is_scored
from orchestrator.scores.reconstruction import Firing
from orchestrator.scores.scoring import ScoringJob, score
from orchestrator.trials.results import figures_of, scores_of
from orchestrator.trials.trial import TrialJob
from tests.support.coders import make_coder
from tests.support.configs import small
from tests.support.held_out_text import LocalShards, tokens_of_prose

pytestmark = pytest.mark.sweep

LENGTH, SEQUENCES, SHARD = 32, 192, 64
PROTOCOL = replace(PROTOCOLS["laptop"], draws=2, latents_per_draw=3, graft_tokens=256, train=12, test=12, inactive=20)
DRAWN = 6


@pytest.fixture(scope="module")
def prose(tied: LanguageModel, opinionated: Path) -> np.ndarray:
    from orchestrator.language_models.loading import load_tokenizer

    return tokens_of_prose(load_tokenizer(str(opinionated)), SEQUENCES, LENGTH)


def coder_for(variant: str, shards: LocalShards) -> SparseCoder:
    """Directions are inputs themselves, so that it means something."""
    coder = make_coder(32, variant=variant, num_latents=64, k=4)
    shard = shards.read("val", 0, [])
    with torch.no_grad():
        centre = shard.rows(shard.ordinary).x.mean(dim=0)
        rows = shard.rows(shard.ordinary[:64]).x - centre
        rows /= rows.norm(dim=1, keepdim=True)
        for name, parameter in coder.named_parameters():
            parameter.copy_({"b_dec": centre, "encoder.bias": torch.zeros(64)}.get(name, rows))
    return coder


def job_of(directory: Path, model: Path, prose: np.ndarray, variant: str, shards: LocalShards) -> ScoringJob:
    cell = Cell(str(model), "layers.1", 4, 2, variant, 0, 32)
    sweep = small(
        model=(str(model),), hookpoint=("layers.1",), k=(4,), expansion_factor=(2,), variant=(variant,),
        val_tokens=prose.size, shard_tokens=SHARD * LENGTH,
    )  # fmt: skip
    trial = directory / "trial"
    coder_for(variant, shards).save_to_disk(trial / "coder")
    return ScoringJob(TrialJob(cell, sweep, trial, "none", 0, None, 1), str(model), PROTOCOL)


@pytest.fixture(scope="module")
def shards(opinionated: Path, prose: np.ndarray) -> LocalShards:
    return LocalShards(opinionated, ("layers.1",), prose, SHARD)


@pytest.fixture(scope="module", params=["topk", "mp"])
def scored(
    request: pytest.FixtureRequest, opinionated: Path, prose: np.ndarray, shards: LocalShards,
    tmp_path_factory: pytest.TempPathFactory,
) -> ScoringJob:  # fmt: skip
    job = job_of(tmp_path_factory.mktemp("scored"), opinionated, prose, request.param, shards)
    score(job, shards, prose)
    return job


def test_every_figure_is_there_and_finite(scored: ScoringJob) -> None:
    scores = scores_of(scored.trial.directory)
    metrics = scores["metrics"]
    assert all(math.isfinite(value) for value in metrics.values())
    prefixes = {name.partition("/")[0] for name in metrics}
    assert prefixes == {
        "reconstruction_quality", "shrinkage", "latents", "model_performance_preservation",
        "model_behavior_preservation", "autointerp",
    }  # fmt: skip
    for figure in ("mean", "mean_low", "mean_high", "median", "p10", "n", "draw_sd", "chance", "below_chance_pct"):
        assert f"autointerp/example_embedding/{figure}" in metrics
    assert metrics["autointerp/latents"] == DRAWN
    assert metrics["autointerp/example_embedding/n"] + metrics["autointerp/too_few_examples"] == DRAWN
    assert metrics["autointerp/example_embedding/n"] >= DRAWN / 2
    assert sum(scores["firing_rates"]["latents"]) == round(64 * (1 - metrics["latents/never_fired_pct"] / 100))
    assert ("by_step" in scores) == (scored.trial.cell.variant == "mp")


def test_the_table_says_of_every_latent_what_the_summary_adds_up(scored: ScoringJob) -> None:
    rows = pq.read_table(scored.directory / table.FILE).to_pylist()
    assert len({row["latent"] for row in rows}) == DRAWN
    metrics = scores_of(scored.trial.directory)["metrics"]
    given = [row["score"] for row in rows if row["score"] is not None]
    assert np.mean(given) == pytest.approx(metrics["autointerp/example_embedding/mean"])
    for row in rows:
        assert row["score"] is not None or row["examples"] < 20 or row["examples"] > SEQUENCES - 20
        for context in row["contexts"]:
            assert len(context["tokens"]) == len(context["activations"]) == LENGTH
            assert max(context["activations"]) > 0


def test_a_latent_is_described_by_what_its_row_writes_and_what_it_is_like(
    scored: ScoringJob, tied: LanguageModel
) -> None:
    coder = SparseCoder.load_from_disk(scored.trial.directory / "coder")
    rows_MD = coder.W_dec.detach()
    unembedding = tied.model.get_output_embeddings().weight * tied.base.norm.weight
    directions = rows_MD / rows_MD.norm(dim=1, keepdim=True)
    described = table.summaries(scored.directory / table.FILE)
    assert len(described) == DRAWN
    for each in described:
        written = unembedding @ rows_MD[each.latent]  # scoring may have computed in bfloat16
        assert [weight for _, weight in each.promoted] == pytest.approx(written.topk(8).values.tolist(), rel=2e-2)
        lowest = (-written).topk(8).values
        assert [weight for _, weight in each.suppressed] == pytest.approx((-lowest).tolist(), rel=2e-2)
        cosines = directions @ directions[each.latent]
        cosines[each.latent] = -2
        assert [cosine for _, cosine in each.neighbours] == pytest.approx(cosines.topk(5).values.tolist(), abs=1e-4)
        assert (each.mostly_at_step is not None) == (scored.trial.cell.variant == "mp")
        if each.contexts:
            assert each.max_activation == pytest.approx(max(map(max, (c.activations for c in each.contexts))), rel=1e-3)


def test_the_page_of_latents_shows_them(scored: ScoringJob) -> None:
    html = (scored.directory / "latents.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    (coder,) = json.loads(data)["coders"]
    assert coder["title"] == scored.trial.cell.name
    assert {each["latent"] for each in coder["latents"]} == {
        each.latent for each in table.summaries(scored.directory / table.FILE)
    }


@pytest.mark.parametrize("scored", ["topk"], indirect=True)
def test_scoring_goes_on_where_it_was_killed(
    scored: ScoringJob, opinionated: Path, prose: np.ndarray, shards: LocalShards, tmp_path: Path
) -> None:
    job = job_of(tmp_path, opinionated, prose, scored.trial.cell.variant, shards)
    lines = scored.scored_file.read_bytes().splitlines(keepends=True)
    job.directory.mkdir(parents=True)
    marked = [json.loads(line) for line in lines[:5]]
    marked[0]["explanation"] = "was there before"
    kept = "".join(f"{json.dumps(each)}\n" for each in marked)
    job.scored_file.write_bytes(kept.encode() + lines[5][:40])  # killed while writing
    score(job, shards, prose)
    again = job.scored_file.read_bytes().splitlines(keepends=True)
    assert b"".join(again[:5]).decode() == kept, "what was scored was scored again"
    assert again[5:] == lines[5:]
    assert scores_of(job.trial.directory) == scores_of(scored.trial.directory)


def test_activations_of_latents_are_those_of_the_coder(scored: ScoringJob, shards: LocalShards) -> None:
    coder = SparseCoder.load_from_disk(scored.trial.directory / "coder")
    held_out = HeldOutTokens(shards, SEQUENCES // SHARD, 100)
    wanted = [3, 60, 17]
    most = 3000
    found = activations_of(coder, held_out, wanted, most, SEQUENCES * LENGTH)
    read = [shards.read("val", index, []) for index in range(SEQUENCES // SHARD)]
    x = torch.from_numpy(np.concatenate([each.values_TD for each in read])).float()
    ordinary = np.concatenate([each.usable_T & ~each.massive_T for each in read])
    with torch.no_grad():
        encoded = coder.encode(x)
    for latent in wanted:
        dense = torch.where(encoded.latent_indices == latent, encoded.latent_acts, 0.0).sum(dim=1)
        places = [t for t in range(most) if ordinary[t] and dense[t] != 0]
        assert found[latent].places_E.tolist() == places
        torch.testing.assert_close(found[latent].values_E, dense[places], rtol=1e-4, atol=1e-5)


def test_draws_are_disjoint_and_only_of_the_living() -> None:
    counts = torch.tensor([0, 3, 1, 0, 2, 9, 4, 1, 1, 1])
    firing = Firing(20, counts, torch.zeros(10, dtype=torch.float64))
    draws = draw(firing, 3, 2, seed=0)
    drawn = [latent for latents in draws for latent in latents]
    assert len(set(drawn)) == len(drawn) == 6
    assert all(counts[latent] for latent in drawn)
    assert draws == draw(firing, 3, 2, seed=0) != draw(firing, 3, 2, seed=1)
    assert [len(latents) for latents in draw(firing, 3, 3, seed=0)] == [3, 3, 2]


def test_a_coder_without_a_head_of_its_model_has_no_faithfulness(
    opinionated: Path, prose: np.ndarray, shards: LocalShards, tmp_path: Path
) -> None:
    headless: Any = tmp_path / "headless"
    shutil.copytree(opinionated, headless)
    config = json.loads((headless / "config.json").read_text(encoding="utf-8"))
    (headless / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}), encoding="utf-8")
    job = replace(job_of(tmp_path, opinionated, prose, "topk", shards), model=str(headless))
    score(job, shards, prose)
    metrics = scores_of(job.trial.directory)["metrics"]
    assert not any(name.startswith("model_") for name in metrics)
    assert "autointerp/example_embedding/mean" in metrics


@pytest.mark.parametrize("scored", ["mp"], indirect=True)
def test_scores_of_one_kind_stay_beside_those_of_the_other(
    scored: ScoringJob, shards: LocalShards, prose: np.ndarray, tmp_path: Path
) -> None:
    job = job_of(tmp_path, Path(scored.model), prose, scored.trial.cell.variant, shards)
    asked = replace(job, protocol=PROTOCOLS["inference"])
    score(asked, shards, prose)
    first = figures_of(job.trial.directory)
    assert first is not None and set(first) >= {"inference/own/fvu", "inference/k4/fvu", "inference/omp/fvu"}
    assert (is_scored(first, "inference"), is_scored(first, "laptop")) == (True, False)
    score(job, shards, prose)
    second = figures_of(job.trial.directory)
    assert second == first | (figures_of(scored.trial.directory) or {})
    score(asked, shards, prose)
    assert figures_of(job.trial.directory) == second
    assert scores_of(job.trial.directory)["times"] == 3
    assert is_scored(second, "laptop") and is_scored(second, "inference") and not is_scored(None, "laptop")
