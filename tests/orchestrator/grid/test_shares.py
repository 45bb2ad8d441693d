"""How trials and extractors share what there is."""

import pytest

from orchestrator.errors import UserError
from orchestrator.grid.shares import share
from tests.support.configs import hardware


@pytest.mark.parametrize(
    ("gpus", "per_trial", "trial_gpus", "concurrent", "extractors", "extractor_gpus"),
    [
        (1, None, 0.9, 1, 1, 0.1),
        (1, 0.9, 0.9, 1, 1, 0.1),
        (1, 0.3, 0.3, 3, 1, 0.1),
        (1, 0.1, 0.1, 9, 1, 0.1),
        (2, None, 0.9, 2, 1, 0.1),
        (2, 1.0, 1.0, 1, 1, 0.1),
        (2, 0.5, 0.5, 3, 1, 0.1),
        (2, 0.7, 0.7, 2, 1, 0.1),
        (3, 2.0, 2.0, 1, 1, 0.1),
        (4, None, 1.0, 3, 1, 1.0),
        (8, None, 1.0, 7, 1, 1.0),
        (8, 0.7, 0.7, 7, 1, 1.0),
        (8, 0.25, 0.25, 28, 1, 1.0),
        (8, 7.0, 7.0, 1, 1, 1.0),
        (9, None, 1.0, 8, 1, 1.0),
        (16, None, 1.0, 14, 2, 1.0),
        (16, 2.0, 2.0, 7, 2, 1.0),
    ],
)
def test_gpus_are_shared_by_trials_and_extractors(
    gpus: int, per_trial: float | None, trial_gpus: float, concurrent: int, extractors: int, extractor_gpus: float
) -> None:
    shares = share(hardware(gpus), per_trial)
    assert shares.trial == {"cpu": 1, "gpu": pytest.approx(trial_gpus)}
    assert (shares.concurrent, shares.extractors) == (concurrent, extractors)
    assert shares.extractor == {"num_cpus": 0, "num_gpus": extractor_gpus, "scheduling_strategy": "SPREAD"}
    assert concurrent * trial_gpus + extractors * extractor_gpus <= gpus + 1e-9


@pytest.mark.parametrize(
    ("gpus", "per_trial", "most"),
    [(1, 1.0, "0.9"), (1, 0.95, "0.9"), (1, 2.0, "0.9"), (2, 2.0, "1"), (8, 8.0, "7"), (16, 15.0, "14")],
)
@pytest.mark.parametrize("cluster", [False, True], ids=["machine", "cluster"])
def test_trials_too_large_for_the_gpus_are_refused(gpus: int, per_trial: float, most: str, cluster: bool) -> None:
    with pytest.raises(UserError, match=rf"^gpus_per_trial {per_trial:g}: must be at most {most} of .* {gpus},"):
        share(hardware(gpus, cluster=cluster), per_trial)


@pytest.mark.parametrize(
    ("cpus", "nodes", "extractors", "threads"), [(1, 1, 1, 1), (2, 1, 2, 1), (16, 1, 4, 4), (16, 2, 8, 2), (2, 3, 3, 1)]
)
def test_without_gpus_few_extractors_share_the_cores(cpus: int, nodes: int, extractors: int, threads: int) -> None:
    shares = share(hardware(0, cluster=nodes > 1, cpus=cpus, nodes=nodes), None)
    assert (shares.extractors, shares.extractor_threads) == (extractors, threads)


@pytest.mark.parametrize(("gpus", "per_trial"), [(0, None), (0, 0.0), (4, 0.0)])
def test_without_gpus_every_core_has_a_trial(gpus: int, per_trial: float | None) -> None:
    shares = share(hardware(gpus, cpus=6, nodes=2), per_trial)
    assert shares.trial == {"cpu": 1}
    assert shares.concurrent == 6
    assert (shares.extractors, shares.extractor_threads, shares.extractor["num_cpus"]) == (6, 1, 0)


def test_a_machine_without_gpus_cannot_give_any() -> None:
    with pytest.raises(UserError, match=r"^gpus_per_trial 1: there is no GPU; leave it out to train on CPU cores$"):
        share(hardware(0), 1.0)


@pytest.mark.parametrize("per_trial", [0.5, 1.0, 4.0])
def test_a_cluster_that_has_no_gpu_yet_is_asked_for_them(per_trial: float) -> None:
    shares = share(hardware(0, cluster=True), per_trial)
    assert shares.trial == {"cpu": 1, "gpu": per_trial}
    assert shares.concurrent == shares.extractors == 1
    assert shares.extractor["num_gpus"] > 0


@pytest.mark.parametrize(
    ("gpus", "nodes", "per_trial", "models", "placement"),
    [
        (1, 1, None, 1, "1 extractor with 0.1 of a GPU, beside trials; each trial has 0.9 GPU"),
        (2, 1, 1.0, 1, "1 extractor with 0.1 of a GPU, where no trial fits beside it; each trial has 1 GPU"),
        (3, 3, 0.3, 2, "2 extractors, each with 0.05 of a GPU, spread over the nodes, beside trials; "
                       "each trial has 0.3 GPU"),
        (8, 1, None, 1, "1 extractor on a GPU of its own; each trial has 1 GPU"),
        (16, 2, 2.0, 1, "2 extractors, each on a GPU of its own, spread over the nodes; each trial has 2 GPUs"),
        (8, 1, 0.25, 2, "2 extractors, each on a GPU of its own, spread over the nodes; each trial has 0.25 GPU"),
        (0, 1, None, 1, "4 extractors of 2 threads, over all nodes, on cores that trials leave idle"),
    ],
)  # fmt: skip
def test_where_language_models_run_is_told(
    gpus: int, nodes: int, per_trial: float | None, models: int, placement: str
) -> None:
    shares = share(hardware(gpus, cluster=nodes > 1, nodes=nodes), per_trial, models)
    assert shares.extractor["scheduling_strategy"] == "SPREAD"
    assert shares.describe(models) == f"extraction: {placement}"


def test_a_cluster_whose_head_has_no_core_runs_one_trial_at_least() -> None:
    assert share(hardware(0, cluster=True, cpus=0), None).concurrent == 1
