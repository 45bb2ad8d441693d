"""What a sweep can tell MLflow: an experiment per sweep script, a parent run per sweep, a child run per trial.

Logging appends to a journal on disk and returns; `delivery.py` sends the journal, so a sweep neither waits for MLflow
nor dies with it, and a restarted sweep goes on with the same runs. To be used in the driver process only.
"""

import json
import posixpath
import re
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlencode

from orchestrator.errors import UserError
from orchestrator.names import digest, plain
from orchestrator.redaction import redact
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.datasets import Dataset
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.journal import COMMAND, PARENT, Journal
from orchestrator.tracking.mlflow_store import check_database, quieten_mlflow, server_version
from orchestrator.tracking.views import SINCE, saved_view, view_url
from orchestrator.tracking.writer import Writer

NOTE = "mlflow.note.content"
_MAX_REASON = 5000
_MAX_KEY = 250
_KEY = r"[\w.\- :/]+"


class Tracker:
    """Writes one sweep to MLflow; every method but `finish` returns at once and raises nothing that MLflow raises."""

    def __init__(self, uri: str | None, experiment: str, sweep: str, storage: Path, journal_dir: Path) -> None:
        """Continue the journal in `journal_dir`, or start one. `uri` None: see `default_uri`."""
        self._uri, self._sweep = uri or default_uri(storage), sweep
        # Any other store knows best where its artifacts go.
        artifact_root = (storage.resolve() / "mlartifacts").as_uri() if self._uri.startswith("sqlite") else None
        check_database(self._uri)
        self._journal = Journal(journal_dir)
        self._experiment = experiment
        if (began_in := self._journal.experiment) not in (None, experiment):
            raise UserError(f"resume {sweep!r}: was begun by {began_in}; resume it with that script, not {experiment}")
        self._open: set[str] = set()
        quieten_mlflow()
        connect = partial(Writer.connect, self._uri, artifact_root, experiment, sweep, self._journal)
        self._delivery = Delivery(self._journal, connect, sweep, self._uri)

    def start_sweep(
        self,
        params: Mapping[str, object],
        tags: Mapping[str, str],
        config: Mapping[str, object],
        datasets: Sequence[Dataset] = (),
    ) -> None:
        """Open the parent run, or reopen it; `config` becomes its artifact `config.json`."""
        tags = {**tags, COMMAND: self.command}
        self._append(
            "start", None, params=_texts(params), tags=_tags(tags), config=dict(config), experiment=self._experiment
        )
        self._log_datasets(None, datasets)

    @property
    def command(self) -> str:
        """The command line that the sweep began with, without secrets."""
        self._journal.command = self._journal.command or redact(shlex.join(["python", *sys.argv]))
        return self._journal.command

    def describe(self, trial: str | None, note: str) -> None:
        """Set what MLflow shows as the description of a run, in Markdown."""
        self._append("params", trial, params={}, tags={NOTE: note})

    def start_trial(
        self, trial: str, params: Mapping[str, object], tags: Mapping[str, str], datasets: Sequence[Dataset] = ()
    ) -> None:
        """Open the child run of `trial`, or reopen it."""
        self._append("start", trial, params=_texts(params), tags=_tags(tags))
        self._log_datasets(trial, datasets)

    def log_metrics(self, trial: str | None, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics of a trial (None: the parent) at `step`; those already logged at or after `step` are skipped."""
        self._journal.append_metrics(trial, metrics, step)
        self._delivery.wake()

    def log_system_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log what the machine does now, at the second since the sweep began, so that a resumed sweep goes on."""
        seconds = (self._journal.now() - self._journal.began) // 1000
        self.log_metrics(None, {f"system/{name}": value for name, value in metrics.items()}, seconds)

    def log_params(self, trial: str | None, params: Mapping[str, object]) -> None:
        """Add parameters. MLflow refuses to change one that is set: the first value stays, with a warning."""
        self._append("params", trial, params=_texts(params))

    def log_model(self, trial: str, metrics: Collection[str]) -> None:
        """Say that the coder of a trial is a model; these of the trial's metrics, as they stand, are also the model's.

        Safe to repeat. It is measured on the evaluation dataset that the trial began with.
        """
        self._journal.append_model(trial, metrics)
        self._delivery.wake()

    def save_view(self, metrics: Collection[str], seeds: int) -> None:
        """Save, or renew, the view of this sweep in MLflow's UI; `metrics` are those that its trials have."""
        journal = self._journal
        self._append(
            "view", None, tags=saved_view(journal.id, self._sweep, metrics, seeds, journal.began, journal.now())
        )

    def log_artifacts(
        self, trial: str | None, directory: Path, artifact_path: str | None = None, *, once: bool = False
    ) -> None:
        """Upload what is in `directory`, or the file of that name. It is read later, so it has to stay where it is.

        `once`: not where an earlier session of the sweep asked for it, so that what befell the files since replaces
        nothing.
        """
        if not (once and (trial, artifact_path) in self._journal.uploads):
            self._append("artifacts", trial, path=str(directory.resolve()), to=artifact_path)

    def end_trial(self, trial: str, *, failure: str | None = None) -> None:
        """Close the child run: FINISHED, or FAILED with the reason as tag `failure_reason`."""
        status = "FINISHED" if failure is None else "FAILED"
        self._append("end", trial, status=status, failure=failure and failure[:_MAX_REASON])

    def kill_trial(self, trial: str) -> None:
        """Close the child run as KILLED: it was stopped, and a resumed sweep goes on with it."""
        self._append("end", trial, status="KILLED", failure=None)

    def finish(self, status: str = "FINISHED", timeout_s: float = 60.0) -> int:
        """Close the parent run (FINISHED, FAILED or KILLED) and return the number of entries still undelivered.

        Child runs that are open then were stopped with it, and are closed as KILLED.
        Waits up to `timeout_s` seconds for delivery, and unless KILLED for as long as it goes on. What is left is
        delivered by the next Tracker on this journal.
        """
        for trial in sorted(self._open):
            self.kill_trial(trial)
        self._append("end", None, status=status, failure=None)
        self._delivery.finish(timeout_s, patient=status != "KILLED")
        return self._journal.unsent()

    def deliver(self, timeout_s: float = 60.0) -> int:
        """Wait for the journal to be delivered, as long as that goes on; returns the number of entries left."""
        self._delivery.finish(timeout_s, patient=True)
        return self._journal.unsent()

    def comparison_url(self, base_url: str = "http://127.0.0.1:5000") -> str | None:
        """The page of MLflow's UI that compares all trials; None before MLflow has any.

        That is the sweep's saved view, or the plain comparison where MLflow is too old, or does not say how old.
        `base_url` is where `mlflow ui` shows the SQLite store; a tracking server's own address takes its place.
        """
        state = self._journal.state
        trials = [run_id for trial, run_id in list(state.runs.items()) if trial != PARENT]
        if not trials:
            return None
        base = redact(self._uri) if self._uri.startswith(("http://", "https://")) else base_url
        if server_version(self._uri) >= SINCE:
            return view_url(base, state.experiment_id, self._journal.id)
        query = {"runs": json.dumps(trials, separators=(",", ":")), "experiments": json.dumps([state.experiment_id])}
        return f"{base.rstrip('/')}/#/compare-runs?{urlencode(query)}"

    def artifact_link(self, path: str) -> str | None:
        """Where MLflow's UI shows an artifact of the sweep's own run, from any of its pages; None before it has one."""
        state = self._journal.state
        run_id = state.runs.get(PARENT)
        return f"#/experiments/{state.experiment_id}/runs/{run_id}/artifacts/{quote(path)}" if run_id else None

    def _log_datasets(self, trial: str | None, datasets: Sequence[Dataset]) -> None:
        if datasets:
            self._append("datasets", trial, datasets=[asdict(dataset) for dataset in datasets])

    def _append(self, op: str, trial: str | None, **fields: object) -> None:
        if trial is not None and op == "start":
            self._open.add(trial)
        elif trial is not None and op == "end":
            self._open.discard(trial)
        self._journal.append(op, trial, **fields)
        self._delivery.wake()


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items()}


def _tags(tags: Mapping[str, object]) -> dict[str, str]:
    return {tag_key(key): text for key, text in _texts(tags).items()}


def tag_key(key: str) -> str:
    """A key that MLflow takes: a short path of few characters, which the path of a model in it may not be."""
    return key if _is_key(key) else _as_key(key)


def _is_key(key: str) -> bool:
    return (
        re.fullmatch(_KEY, key) is not None
        and len(key) <= _MAX_KEY
        and posixpath.normpath(key) == key
        and not key.startswith(("/", ".."))
    )


def _as_key(key: str) -> str:
    return f"{plain(key)[: _MAX_KEY - 9]}-{digest(key)}"
