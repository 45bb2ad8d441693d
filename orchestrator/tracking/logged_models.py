"""The coder of a trial as MLflow's logged model, so that coders can be searched and ordered by what they measured.

A model is found by the run that made it before it is created, and its metrics are the run's own points, time stamps
included, which MLflow's databases recognise: repeating an entry has no effect.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from orchestrator.tracking.datasets import EVALUATION

_logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"
"""A coder's files among the artifacts of its run, and the tag of its model that says where they are."""
_TAGS = ("sweep.name", "sweep.journal", "sweep.trial")
"""Those of a run that its model has, too."""


class LoggedModels:
    """The logged models of one store; a server that has no such thing (MLflow 2) is told nothing, with one warning."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._unknown = False

    def log(self, run_id: str, points: Mapping[str, Sequence[Any]], send: Callable[[list[Metric]], None]) -> None:
        """Make sure that the coder of a run is a model with these metrics: value, step and time in ms of each.

        `send` logs metrics to the run. Raises what MLflow raises.
        """
        if self._unknown:
            return
        run = self._client.get_run(run_id)
        listed = run.outputs.model_outputs if run.outputs else []
        if (model_id := listed[0].model_id if listed else self._made(run)) is None:
            return
        name, digest = _evaluated_on(run)
        send([
            Metric(key, value, time_ms, step, model_id, name, digest)
            for key, (value, step, time_ms) in points.items()
        ])  # fmt: skip
        if not listed:  # last of all, so that the model of a run that lists one lacks nothing
            self._client.finalize_logged_model(model_id, LoggedModelStatus.READY)
            self._client.log_outputs(run_id, [LoggedModelOutput(model_id, max(step for _, step, _ in points.values()))])

    def _made(self, run: Run) -> str | None:
        """The model of a run, created if there is none; None where the server knows no models."""
        made_by = f"source_run_id = '{run.info.run_id}'"
        try:
            found = self._client.search_logged_models([run.info.experiment_id], made_by, max_results=1)
        except MlflowException as error:
            if error.error_code != "ENDPOINT_NOT_FOUND":
                raise
            self._client.get_run(run.info.run_id)  # a proxy whose server is down does not find runs either
            _logger.warning("MLflow's server has no logged models, which came with MLflow 3: coders are in runs alone")
            self._unknown = True
            return None
        return str((found[0] if found else self._create(run)).model_id)

    def _create(self, run: Run) -> LoggedModel:
        tags = {key: run.data.tags[key] for key in _TAGS} | {CHECKPOINT: f"runs:/{run.info.run_id}/{CHECKPOINT}"}
        name = re.sub(r"[/:.%\"']", "_", run.data.tags["sweep.trial"])  # MLflow takes none of these in such a name
        return self._client.create_logged_model(run.info.experiment_id, name, run.info.run_id, tags, run.data.params)


def _evaluated_on(run: Run) -> tuple[str | None, str | None]:
    """Name and digest of a run's evaluation dataset, both None where it has none."""
    for found in run.inputs.dataset_inputs if run.inputs else ():
        if (MLFLOW_DATASET_CONTEXT, EVALUATION) in {(tag.key, tag.value) for tag in found.tags}:
            return found.dataset.name, found.dataset.digest
    return None, None
