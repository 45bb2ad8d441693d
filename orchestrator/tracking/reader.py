"""Sweeps read back from MLflow."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import UserError
from orchestrator.redaction import redact
from orchestrator.tracking.addresses import sqlite_file
from orchestrator.tracking.journal import Journal
from orchestrator.tracking.mlflow_store import brief, quieten_mlflow
from orchestrator.tracking.records import Point, TrialRecord, records_of
from orchestrator.tracking.tracker import tag_key

_PARENT_TAG = "mlflow.parentRunId"
_IDENTITY = ("model.fingerprint", "tokens.fingerprint")


class UnknownSweep(UserError):
    """MLflow has none of this name."""


@dataclass(frozen=True)
class TrackedSweep:
    """A sweep as MLflow has it."""

    name: str
    run_id: str
    """Of the parent run."""
    namesakes: int
    """Older sweeps of the same name."""
    records: list[TrialRecord]
    tags: dict[str, str]
    """Of the parent run: machine, versions, commit, command."""


def read_sweep(uri: str, run: str, *, curves: bool = True) -> TrackedSweep:
    """The sweep whose parent run has the id `run`, or the newest of that name. Raises UserError.

    Without `curves` a metric has its last value alone, at step 0: MLflow is asked once for all of them, and otherwise
    once for every metric of every trial.
    """
    quieten_mlflow()
    with _user_error(uri):
        _check_store(uri, run)
        client = MlflowClient(tracking_uri=uri)
        parent, namesakes = _find(client, run)
        filter_string = f"tags.`{_PARENT_TAG}` = '{parent.info.run_id}'"
        children = client.search_runs([parent.info.experiment_id], filter_string, max_results=50_000)
        trials = [
            (_identity(parent, child) | child.data.params, list(_points(client, child, curves))) for child in children
        ]
    records = records_of(parent.data.params, trials)
    return TrackedSweep(parent.info.run_name, parent.info.run_id, namesakes, records, parent.data.tags)


def read_sweeps(uri: str, runs: Sequence[str], *, curves: bool = True) -> list[TrackedSweep]:
    """Sweeps by names or ids, or by several of them in one word, separated by blanks. Raises UserError.

    What is a name as it is counts as one, blanks and all. `curves` as for `read_sweep`.
    """
    sweeps: dict[str, TrackedSweep] = {}
    for run in runs:
        for name, sweep in _named(uri, run, curves):
            if sweep.run_id in sweeps:
                raise UserError(f"run {name!r}: is named twice; give each sweep once")
            sweeps[sweep.run_id] = sweep
    return list(sweeps.values())


def _named(uri: str, run: str, curves: bool) -> list[tuple[str, TrackedSweep]]:
    """What a word names, each with the part of it that does."""
    try:
        return [(run, read_sweep(uri, run, curves=curves))]
    except UnknownSweep as error:
        if len(parts := run.split()) < 2:
            raise
        found = []
        for part in parts:
            try:
                found.append((part, read_sweep(uri, part, curves=curves)))
            except UnknownSweep:
                raise UserError(f"{error}, and none called {part!r}") from None
        return found


def place_of(uri: str, run: str) -> tuple[str, str | None]:
    """The sweep that a run belongs to, and the trial that it is; None for a sweep's own run. Raises UserError."""
    quieten_mlflow()
    with _user_error(uri):
        _check_store(uri, run)
        tags = MlflowClient(tracking_uri=uri).get_run(run).data.tags
    if "sweep.name" not in tags:
        raise UserError(f"run {run!r}: is not of a sweep")
    return tags["sweep.name"], tags.get("sweep.trial")


def experiment_of(uri: str, journal: Path) -> str:
    """The experiment that the sweep with this journal is logged in. Raises UserError."""
    quieten_mlflow()
    experiment = Journal(journal).state.experiment_id
    with _user_error(uri):
        _check_store(uri, journal.parent.name)
        return str(MlflowClient(tracking_uri=uri).get_experiment(experiment).name)


def _check_store(uri: str, run: str) -> None:
    file = sqlite_file(uri)
    if file is not None and not file.is_file():  # MLflow would create it
        raise UserError(f"run {run!r}: there is no MLflow store {file}")


def _find(client: MlflowClient, run: str) -> tuple[Run, int]:
    """The parent run, and how many older ones share the name it was asked for by."""
    if re.fullmatch(r"[0-9a-f]{32}", run):
        try:
            found = client.get_run(run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        else:
            if parent := found.data.tags.get(_PARENT_TAG):
                raise UserError(f"run {run!r}: is a trial; its sweep is run {parent}")
            return found, 0
    # A filter has no way to write a name with both kinds of quotes; `_` stands for any one letter.
    pattern = re.sub(r"['\"\\]", "_", run)
    named = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        f"tags.`sweep.name` LIKE '{pattern}'", max_results=50_000, order_by=["attributes.start_time DESC"],
    )  # fmt: skip
    parents = [r for r in named if r.data.tags["sweep.name"] == run and _PARENT_TAG not in r.data.tags]
    if not parents:
        raise UnknownSweep(f"run {run!r}: MLflow has no sweep of this name and no parent run with this id")
    return parents[0], len(parents) - 1


def _identity(parent: Run, child: Run) -> dict[str, str]:
    """What a trial ran on. Those of older versions do not say so themselves; the sweep has it by model."""
    keys = {what: tag_key(f"{what}.{child.data.params.get('model', '')}") for what in _IDENTITY}
    return {what: parent.data.tags[key] for what, key in keys.items() if key in parent.data.tags}


def _points(client: MlflowClient, run: Run, curves: bool) -> Iterator[Point]:
    for metric, last in run.data.metrics.items():
        if not curves:
            yield metric, 0, last
            continue
        for point in client.get_metric_history(run.info.run_id, metric):
            yield metric, point.step, point.value


@contextmanager
def _user_error(uri: str) -> Iterator[None]:
    """What MLflow and its stores raise, as one line."""
    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise UserError(f"tracking_uri {redact(uri)!r}: {brief(error)}") from None
