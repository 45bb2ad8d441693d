"""Journal entries as calls of MLflow: which run an entry belongs to, what is sent of it, what MLflow never takes.

Every entry can be repeated without effect: runs are looked up by tag before they are created, and a metric point
carries the journal's time stamp, which makes MLflow's database recognise it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, islice, takewhile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from orchestrator.errors import shown
from orchestrator.tracking.entries import Entry
from orchestrator.tracking.journal import PARENT, Journal, State
from orchestrator.tracking.logged_models import LoggedModels
from orchestrator.tracking.mlflow_store import brief, create_database, is_final
from orchestrator.tracking.views import TAG as VIEW

_logger = logging.getLogger(__name__)

_WINDOW = 5000  # entries looked at in one go: a call costs as much as 140 points, and each trial needs its own


class Writer:
    """One connection to the store, and the entries of one sweep's journal sent over it; raises what MLflow raises."""

    def __init__(self, client: MlflowClient, journal: Journal, sweep: str) -> None:
        self._client, self._journal, self._sweep = client, journal, sweep
        self._models = LoggedModels(client)
        self._giving_up = False

    @classmethod
    def connect(cls, uri: str, artifact_root: str | None, experiment: str, sweep: str, journal: Journal) -> "Writer":
        """Find what the store has of this sweep; after a failure too, as an unconfirmed call may have created a run."""
        create_database(uri)
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        found = found or client.get_experiment(client.create_experiment(experiment, artifact_root))
        experiment_id = found.experiment_id
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(experiment_id)
        ours = f"tags.`sweep.journal` = '{journal.id}'"
        known = client.search_runs([experiment_id], ours, ViewType.ALL, 50_000, ["attributes.start_time"])
        runs = {run.data.tags.get("sweep.trial", PARENT): run.info.run_id for run in known}
        # A store without our parent run is another one than before, or was wiped: tell it everything.
        offset = journal.state.offset if PARENT in runs else 0
        journal.state = State(offset, experiment_id, runs)
        journal.save()
        return cls(client, journal, sweep)

    def _run_id(self, trial: str | None, time_ms: int) -> str:
        """The run of a trial (None: the parent), created if there is none."""
        name, runs = PARENT if trial is None else trial, self._journal.state.runs
        if name not in runs:
            tags = {"sweep.name": self._sweep, "sweep.journal": self._journal.id}
            if trial is not None:
                tags |= {"sweep.trial": trial, "mlflow.parentRunId": self._run_id(None, time_ms)}
            run = self._client.create_run(self._journal.state.experiment_id, time_ms, tags, trial or self._sweep)
            runs[name] = run.info.run_id
        return runs[name]

    def send_next(self, *, giving_up: bool) -> None:
        """Deliver the next entry, or the metric entries up to the next that is none, and note it.

        `giving_up` drops, with a warning, whatever MLflow answers with an error.
        """
        self._giving_up = giving_up
        entries = self._journal.pending()
        entry, end = next(entries)
        if entry["op"] == "metrics":
            points: dict[str | None, list[Metric]] = {}
            window = chain([(entry, end)], islice(entries, _WINDOW - 1))
            for item, end in takewhile(lambda pair: pair[0]["op"] == "metrics", window):  # noqa: B007 -- read below
                new = [Metric(key, value, item["t"], item["step"]) for key, value in item["data"].items()]
                points.setdefault(item["trial"], []).extend(new)
            for trial, metrics in points.items():
                self._log(self._run_id(trial, entry["t"]), metrics)
        elif entry["op"] == "torn":
            _logger.warning("skipping an entry of the journal that is damaged, or was cut off when it was written")
        elif entry["op"] != "journal":
            known = (entry["trial"] or PARENT) in self._journal.state.runs
            self._send(entry, self._run_id(entry["trial"], entry["t"]), new=not known)
        self._journal.advance(end)

    def _send(self, entry: Entry, run_id: str, *, new: bool) -> None:
        """`new`: the run was made for this entry, so it is RUNNING and has not failed."""
        client = self._client
        if entry["op"] == "start" and not new:
            if "failure_reason" in client.get_run(run_id).data.tags:
                self._accepted("an earlier failure", lambda: client.delete_tag(run_id, "failure_reason"))
            self._accepted("a restart", lambda: client.update_run(run_id, status="RUNNING"))
        if entry["op"] in ("start", "params"):
            params = [Param(key, value) for key, value in entry["params"].items()]
            self._log(run_id, [*params, *(RunTag(key, value) for key, value in (entry.get("tags") or {}).items())])
        if entry.get("config") is not None:
            self._accepted("config.json", lambda: client.log_dict(run_id, entry["config"], "config.json"))
        if entry["op"] == "view":
            self._save_view(entry["tags"])
        if entry["op"] == "datasets":
            inputs = [_as_input(fields) for fields in entry["datasets"]]
            self._accepted("datasets", lambda: client.log_inputs(run_id, inputs))
        if entry["op"] == "model":
            send = partial(self._log, run_id)
            self._accepted("a model", lambda: self._models.log(run_id, entry["data"], send))
        if entry["op"] == "artifacts" and self._is_ours(Path(entry["path"])):
            upload = client.log_artifacts if Path(entry["path"]).is_dir() else client.log_artifact
            self._accepted(entry["path"], lambda: upload(run_id, entry["path"], entry["to"]))
        if entry["op"] == "end":
            if entry["failure"] is not None:
                self._log(run_id, [RunTag("failure_reason", entry["failure"])])
            self._accepted("an end", lambda: client.set_terminated(run_id, entry["status"], entry["t"]))

    def _save_view(self, tags: Mapping[str, str]) -> None:
        experiment = self._journal.state.experiment_id
        for key, value in tags.items():
            if key.startswith(VIEW):  # a journal that somebody else wrote may name any tag
                save = partial(self._client.set_experiment_tag, experiment, key, value)
                self._accepted("a saved view", save)

    def _is_ours(self, path: Path) -> bool:
        """Whether it lies in the sweep's directory: a journal that somebody else wrote may name any file of yours."""
        if path.resolve().is_relative_to(self._journal.directory.resolve().parent):
            return True
        _logger.warning("not uploaded for sweep %s: %s is outside the sweep's directory", self._sweep, shown(str(path)))
        return False

    def _log(self, run_id: str, items: Sequence[Metric | Param | RunTag]) -> None:
        """Log items in one call; a batch too large or refused goes in halves, so that only the culprit is lost."""
        if not items:
            return
        kinds = {"metrics": Metric, "params": Param, "tags": RunTag}
        batch = {name: [item for item in items if isinstance(item, kind)] for name, kind in kinds.items()}
        fits = len(items) <= (1000 if batch["metrics"] else 100)  # MLflow's limits for one batch
        culprit = items[0].key if len(items) == 1 else None
        if fits and self._accepted(culprit, lambda: self._client.log_batch(run_id, **batch)):
            return
        if len(items) > 1:
            self._log(run_id, items[: len(items) // 2])
            self._log(run_id, items[len(items) // 2 :])

    def _accepted(self, what: str | None, call: Callable[[], object]) -> bool:
        """Whether MLflow took it; False if it never will, with a warning if `what` names it. Else raises the error."""
        try:
            call()
        except Exception as error:
            if not (self._giving_up or is_final(error)):
                raise
            if what is not None:
                _logger.warning("MLflow refused %s of sweep %s: %s", what, self._sweep, brief(error))
            return False
        return True


def _as_input(fields: Mapping[str, str]) -> DatasetInput:
    content = {name: text for name, text in fields.items() if name != "context"}
    return DatasetInput(Dataset(**content), [InputTag(MLFLOW_DATASET_CONTEXT, fields["context"])])
