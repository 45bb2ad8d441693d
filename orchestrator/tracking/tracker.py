"""MLflow for sweeps: an experiment per sweep script, a parent run per sweep, a child run per trial.

With `tracking_reader`, the only module that imports mlflow. Logging appends to a journal on disk and returns; a daemon
thread delivers the journal in order and retries for as long as MLflow is away, so a sweep neither waits for MLflow nor
dies with it, and a restarted sweep goes on with the same runs. Delivery is at least once, and every entry can be
repeated without effect: runs are looked up by tag before they are created, and a metric point carries the journal's
time stamp, which makes MLflow's database recognise it. To be used in the driver process only.
"""

import json
import logging
import os
import platform
import re
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import torch
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from requests import HTTPError

from orchestrator.tracking.journal import Entry, Journal, redact

__all__ = ["Tracker", "brief", "default_uri", "environment_tags", "quieten_mlflow", "redact"]

_logger = logging.getLogger(__name__)

_PARENT = ""  # the parent run's place among the trials' names
_WINDOW = 500  # entries looked at in one go, and so joined into one batch at most
_MAX_REASON = 5000
_BACKOFF_S = (0.5, 30.0)  # first and longest wait
_PATIENCE = 20  # failures of one entry, with MLflow answering before each (7 minutes), after which it is given up
# A proxy whose server is down answers 404; a run that is gone is made anew when the connection is.
_TRANSIENT_CODE = {"ENDPOINT_NOT_FOUND", "RESOURCE_DOES_NOT_EXIST"}
_TRANSIENT_STATUS = {401, 403, 408, 409, 425, 429, 499}  # mended by time, or by a person who renews a token


def default_uri(storage: Path) -> str:
    """The tracking URI of the SQLite store in `storage`."""
    return f"sqlite:///{storage.resolve() / 'mlflow.db'}"


class Tracker:
    """Writes one sweep to MLflow; every method but `finish` returns at once and raises nothing that MLflow raises."""

    def __init__(self, uri: str | None, experiment: str, sweep: str, storage: Path, journal_dir: Path) -> None:
        """Continue the journal in `journal_dir`, or start one. `uri` None is the SQLite store in `storage`."""
        self._uri = uri or default_uri(storage)
        # Any other store knows best where its artifacts go.
        self._artifact_root = (storage.resolve() / "mlartifacts").as_uri() if self._uri.startswith("sqlite") else None
        self._experiment, self._sweep = experiment, sweep
        self._journal = Journal(journal_dir)
        self._client: Any = None  # an MlflowClient while the store answers
        self._giving_up = False
        self._wake, self._closing, self._abandoned = threading.Event(), threading.Event(), threading.Event()
        quieten_mlflow()
        self._thread = threading.Thread(target=self._deliver, name="mlflow-sender", daemon=True)
        self._thread.start()

    def start_sweep(self, params: Mapping[str, object], tags: Mapping[str, str], config: Mapping[str, object]) -> None:
        """Open the parent run, or reopen it; `config` becomes its artifact `config.json`."""
        self._append("start", None, params=_texts(params), tags=_texts(tags), config=dict(config))

    def start_trial(self, trial: str, params: Mapping[str, object], tags: Mapping[str, str]) -> None:
        """Open the child run of `trial`, or reopen it."""
        self._append("start", trial, params=_texts(params), tags=_texts(tags))

    def log_metrics(self, trial: str | None, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics of a trial (None: the parent) at `step`; those already logged at or after `step` are skipped."""
        self._journal.append_metrics(trial, metrics, step)
        self._wake.set()

    def log_params(self, trial: str | None, params: Mapping[str, object]) -> None:
        """Add parameters. MLflow refuses to change one that is set: the first value stays, with a warning."""
        self._append("params", trial, params=_texts(params))

    def log_artifacts(self, trial: str | None, directory: Path, artifact_path: str | None = None) -> None:
        """Upload what is in `directory`, or the file of that name. It is read later, so it has to stay where it is."""
        self._append("artifacts", trial, path=str(directory.resolve()), to=artifact_path)

    def end_trial(self, trial: str, *, failure: str | None = None) -> None:
        """Close the child run: FINISHED, or FAILED with the reason as tag `failure_reason`."""
        status = "FINISHED" if failure is None else "FAILED"
        self._append("end", trial, status=status, failure=failure and failure[:_MAX_REASON])

    def finish(self, status: str = "FINISHED", timeout_s: float = 60.0) -> int:
        """Close the parent run (FINISHED, FAILED or KILLED) and return the number of entries still undelivered.

        Waits up to `timeout_s` seconds for delivery. What is left is delivered by the next Tracker on this journal.
        """
        self._append("end", None, status=status, failure=None)
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        self._abandoned.set()
        return self._journal.unsent()

    def comparison_url(self, base_url: str = "http://127.0.0.1:5000") -> str | None:
        """The page of MLflow's UI that compares all trials; None before MLflow has any.

        `base_url` is where `mlflow ui` shows the SQLite store; a tracking server's own address takes its place.
        """
        state = self._journal.state
        trials = [run_id for trial, run_id in state.runs.items() if trial != _PARENT]
        if not trials:
            return None
        base = redact(self._uri) if self._uri.startswith(("http://", "https://")) else base_url
        query = {"runs": json.dumps(trials, separators=(",", ":")), "experiments": json.dumps([state.experiment_id])}
        return f"{base.rstrip('/')}/#/compare-runs?{urlencode(query)}"

    def _append(self, op: str, trial: str | None, **fields: object) -> None:
        self._journal.append(op, trial, **fields)
        self._wake.set()

    def _deliver(self) -> None:
        """The sender thread: deliver until `finish` and an empty journal, or until abandoned."""
        failures, refusals, delay = 0, 0, _BACKOFF_S[0]
        while not self._abandoned.is_set():
            self._wake.clear()
            if not self._journal.pending(1):
                if self._closing.is_set():
                    return
                self._wake.wait()
                continue
            try:
                self._client = self._client or self._connect()
                self._giving_up = refusals >= _PATIENCE
                self._send_next()
            except Exception as error:  # noqa: BLE001 -- artifact stores raise their own types; nothing may end the thread
                answered, self._client = self._client is not None, None
                refusals += answered
                if answered and (self._giving_up or (refusals > 1 and _is_final(error))):
                    # No run can be made for this entry, or it is garbled.
                    _logger.warning("dropping an entry of sweep %s: %s", self._sweep, brief(error))
                    self._journal.save(offset=self._journal.pending(1)[0][1])
                else:
                    if failures % _PATIENCE == 0:
                        waiting, where, why = self._journal.unsent(), redact(self._uri), brief(error)
                        _logger.warning("MLflow at %s does not take entries, %d wait: %s", where, waiting, why)
                    failures += 1
                    if self._closing.wait(delay):  # once `finish` waits, retry briskly
                        self._abandoned.wait(_BACKOFF_S[0])
                    delay = min(2 * delay, _BACKOFF_S[1])
                    continue
            failures, refusals, delay = 0, 0, _BACKOFF_S[0]

    def _connect(self) -> MlflowClient:
        """Find what the store has of this sweep; after a failure too, as an unconfirmed call may have created a run."""
        client = MlflowClient(tracking_uri=self._uri)
        experiment = client.get_experiment_by_name(self._experiment)
        if experiment is None:
            experiment = client.get_experiment(client.create_experiment(self._experiment, self._artifact_root))
        experiment_id = experiment.experiment_id
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment_id)
        ours = f"tags.`sweep.journal` = '{self._journal.id}'"
        found = client.search_runs([experiment_id], ours, ViewType.ALL, 50_000, ["attributes.start_time"])
        runs = {run.data.tags.get("sweep.trial", _PARENT): run.info.run_id for run in found}
        # A store without our parent run is another one than before, or was wiped: tell it everything.
        offset = self._journal.state.offset if _PARENT in runs else 0
        self._journal.save(offset=offset, experiment_id=experiment_id, runs=runs)
        return client

    def _run_id(self, trial: str | None, time_ms: int) -> str:
        """The run of a trial (None: the parent), created if there is none."""
        name = _PARENT if trial is None else trial
        if name not in self._journal.state.runs:
            tags = {"sweep.name": self._sweep, "sweep.journal": self._journal.id}
            if trial is not None:
                tags |= {"sweep.trial": trial, "mlflow.parentRunId": self._run_id(None, time_ms)}
            run = self._client.create_run(self._journal.state.experiment_id, time_ms, tags, trial or self._sweep)
            self._journal.save(runs={**self._journal.state.runs, name: run.info.run_id})
        return self._journal.state.runs[name]

    def _send_next(self) -> None:
        """Deliver the next entry, or the metric entries up to the next that is none, and note it."""
        entries = self._journal.pending(_WINDOW)
        entry, end = entries[0]
        if entry["op"] == "metrics":
            points: dict[str | None, list[Metric]] = {}
            for item, end in takewhile(lambda pair: pair[0]["op"] == "metrics", entries):  # noqa: B007 -- read below
                new = [Metric(key, value, item["t"], item["step"]) for key, value in item["data"].items()]
                points.setdefault(item["trial"], []).extend(new)
            for trial, metrics in points.items():
                self._log(self._run_id(trial, entry["t"]), metrics)
        elif entry["op"] == "torn":
            _logger.warning("skipping a journal entry that was cut off when it was written")
        elif entry["op"] != "journal":
            self._send(entry, self._run_id(entry["trial"], entry["t"]))
        self._journal.save(offset=end)

    def _send(self, entry: Entry, run_id: str) -> None:
        client = self._client
        if entry["op"] == "start":
            if "failure_reason" in client.get_run(run_id).data.tags:
                self._accepted("an earlier failure", lambda: client.delete_tag(run_id, "failure_reason"))
            self._accepted("a restart", lambda: client.update_run(run_id, status="RUNNING"))
            self._log(run_id, [RunTag(key, value) for key, value in entry["tags"].items()])
        if entry["op"] in ("start", "params"):
            self._log(run_id, [Param(key, value) for key, value in entry["params"].items()])
        if entry.get("config") is not None:
            self._accepted("config.json", lambda: client.log_dict(run_id, entry["config"], "config.json"))
        if entry["op"] == "artifacts":
            upload = client.log_artifacts if Path(entry["path"]).is_dir() else client.log_artifact
            self._accepted(entry["path"], lambda: upload(run_id, entry["path"], entry["to"]))
        if entry["op"] == "end":
            if entry["failure"] is not None:
                self._log(run_id, [RunTag("failure_reason", entry["failure"])])
            self._accepted("an end", lambda: client.set_terminated(run_id, entry["status"], entry["t"]))

    def _log(self, run_id: str, items: Sequence[Metric | Param | RunTag]) -> None:
        """Log items of one kind; a batch too large or refused goes in halves, so that only the culprit is lost."""
        if not items:
            return
        kind = {Metric: "metrics", Param: "params", RunTag: "tags"}[type(items[0])]
        fits = len(items) <= (1000 if kind == "metrics" else 100)  # MLflow's limits for one batch
        culprit = items[0].key if len(items) == 1 else None
        if fits and self._accepted(culprit, lambda: self._client.log_batch(run_id, **{kind: items})):
            return
        if len(items) > 1:
            self._log(run_id, items[: len(items) // 2])
            self._log(run_id, items[len(items) // 2 :])

    def _accepted(self, what: str | None, call: Callable[[], object]) -> bool:
        """Whether MLflow took it; False if it never will, with a warning if `what` names it. Else raises the error."""
        try:
            call()
        except Exception as error:
            if not (self._giving_up or _is_final(error)):
                raise
            if what is not None:
                _logger.warning("MLflow refused %s of sweep %s: %s", what, self._sweep, brief(error))
            return False
        return True


def environment_tags() -> dict[str, str]:
    """What the code runs on: git commit, package versions, host, CPU and GPUs; what cannot be found out is left out."""
    tags = {"version.python": platform.python_version(), "host": platform.node(), "cpu.count": str(os.cpu_count())}
    # An installed copy may lie inside someone's checkout without being part of it.
    if _git("ls-files", "__init__.py") and (commit := _git("rev-parse", "HEAD")):
        tags |= {"git.commit": commit, "git.dirty": str(bool(_git("status", "--porcelain"))).lower()}
    for package in ("torch", "triton", "ray", "transformers", "mlflow"):
        try:
            tags[f"version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    tags["cpu.model"] = model[1] if model else platform.machine()
    if torch.cuda.is_available():
        tags["gpu"] = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return tags


def _git(*command: str) -> str | None:
    """Output of git in the directory of this file, None without git or a checkout."""
    try:
        here = Path(__file__).parent
        return subprocess.run(["git", *command], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _is_final(error: Exception) -> bool:
    """Whether the same call can never succeed."""
    if isinstance(error, MlflowException):
        status = 0 if error.error_code in _TRANSIENT_CODE else error.get_http_status_code()
    elif isinstance(error, HTTPError) and error.response is not None:
        status = error.response.status_code
    else:
        return isinstance(error, (FileNotFoundError, PermissionError))  # of the files to upload
    return 400 <= status < 500 and status not in _TRANSIENT_STATUS


def brief(error: Exception) -> str:
    """What an error says, cut short and without secrets."""
    return redact(f"{type(error).__name__}: {error}")[:400]


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items()}


def quieten_mlflow() -> None:
    """Settings that have to be made before MLflow is first used."""
    # Retries are the sender thread's business; MLflow's own would keep it inside one call for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # MLflow silences alembic itself, but not its own lines about the migrations of a new SQLite file.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
