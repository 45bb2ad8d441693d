"""`ray up cluster.yaml` on three hosts, a sweep on all of them, and a host that loses its power in the middle."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.cluster.hosts import CHECKOUT, LAPTOP, Host, hosts
from tests.cluster.launched import BIN, DASHBOARD, Launched, on_these_hosts
from tests.support.s3_server import BUCKET, S3Server
from tests.support.waiting import LIMIT_SECONDS, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(0)]

TRIAL, EXTRACTOR = "ray::ImplicitFunc", "ray::Extractor"
FLAGS = {
    "--hookpoint": "layers.0", "--k": "8", "--expansion-factor": "2", "--variant": "topk mp mp-uncentred",
    "--train-tokens": "65536", "--val-tokens": "8192", "--batch-tokens": "256", "--shard-tokens": "8192",
    "--warmup-steps": "10", "--checkpoint-every": "40", "--scores": "none",
}  # fmt: skip
TRIALS = 3
"""One for each node."""
SWEEP = ["python", "sweeps/smollm_grid.py", *(w for flag, values in FLAGS.items() for w in (flag, *values.split()))]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Host]]:
    shared = tmp_path_factory.mktemp("shared")  # the sweep knows nothing of it; MLflow's store is there
    with hosts(tmp_path_factory.mktemp("hosts"), ["head", "one", "two"], shared) as made:
        yield made


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """The sweep on this machine, without a cluster and with nothing in its way; it runs while `ray up` does."""
    storage = tmp_path_factory.mktemp("alone")
    command = [BIN / SWEEP[0], *SWEEP[1:], "--storage", storage, "--name", "undisturbed", "--quiet"]
    with (storage / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    yield process
    process.terminate()
    process.wait(LIMIT_SECONDS)


@pytest.fixture(scope="module")
def undisturbed(alone: subprocess.Popen[bytes]) -> dict[str, dict[str, float]]:
    """Its results."""
    storage = Path(alone.args[alone.args.index("--storage") + 1])
    assert alone.wait(LIMIT_SECONDS) == 0, (storage / "log").read_text(encoding="utf-8")
    found = json.loads((storage / "undisturbed" / "results.json").read_text(encoding="utf-8"))["results"]
    assert len(found) == TRIALS
    return found


@pytest.fixture(scope="module")
def cluster(
    alone: subprocess.Popen[bytes], machines: list[Host], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launched]:
    """Up, with all three nodes alive and Ray's dashboard forwarded, as `ray dashboard` does."""
    file = tmp_path_factory.mktemp("laptop") / "cluster.yaml"
    key = machines[0].log.with_name("login_key")
    file.write_text(on_these_hosts((CHECKOUT / "cluster.yaml").read_text("utf-8"), machines, key), encoding="utf-8")
    launched = Launched(file, tmp_path_factory.mktemp("home"))
    launched.ray("up", "-y", str(file))
    with launched.tunnels:
        launched.tunnels.enter_context(launched.open("dashboard", str(file)))
        wait_until(lambda: launched.nodes() == 3, "three nodes")
        yield launched


@pytest.fixture(scope="module")
def s3_server(machines: list[Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"), host=LAPTOP)
    yield server
    server.stop()


def runs_on(host: Host, *titles: str) -> bool:
    return any(title in line for line in host.processes() for title in titles)


def test_neither_a_stop_nor_a_lost_node_changes_anything(
    cluster: Launched, machines: list[Host], s3_server: S3Server, undisturbed: dict
) -> None:
    """It ends as a sweep does that ran on one machine, though the nodes share nothing but an address."""
    used: set[str] = set()

    def look() -> list[Host]:
        used.update(host.name for host in machines if runs_on(host, TRIAL, EXTRACTOR))
        return [host for host in machines[1:] if runs_on(host, TRIAL)]

    def runs(job: str) -> bool:
        return cluster.status(job) in ("PENDING", "RUNNING")

    def to_be_lost() -> Host | None:
        assert runs("resumed"), cluster.ray("job", "logs", "resumed")
        return next(iter(look()), None)

    def over() -> bool:
        look()
        return not runs("resumed")

    def submit(job: str, *words: str) -> None:
        cluster.submit(job, *words, options=["--runtime-env-json", json.dumps({"env_vars": s3_server.environment})])

    def stored(path: str) -> bytes:
        return s3_server.client().get_object(Bucket=BUCKET, Key=f"sweeps/{path}")["Body"].read()

    submit("stopped", *SWEEP, "--storage", f"s3://{BUCKET}/sweeps", "--name", "disturbed")
    wait_until(lambda: look() and s3_server.keys("sweeps/disturbed/trials"), "a checkpoint")
    cluster.ray("job", "stop", "stopped")
    assert cluster.ended("stopped") == "STOPPED"
    (pasted,) = re.findall("what was done is kept; continue with .*?(sweeps/.*)", cluster.ray("job", "logs", "stopped"))

    submit("resumed", "python", *pasted.split())
    wait_until(to_be_lost, "a trial on a node that is no head").kill()
    wait_until(over, "the end of the resumed sweep")
    log = cluster.ray("job", "logs", "resumed")
    assert cluster.status("resumed") == "SUCCEEDED", log
    assert used == {"head", "one", "two"}
    assert re.search(r"trials \d/3 done", log), "a job's log shows how far it is"
    assert "compare in MLflow: http://127.0.0.1:5000/" in log
    assert json.loads(stored("disturbed/results.json"))["results"] == undisturbed
    wait_until(lambda: cluster.nodes() == 2, "the dashboard's notice that the node is gone")


def test_the_comparison_is_seen_through_ray_attach(cluster: Launched) -> None:
    """With the figures, and every run of the sweep once and ended, though it was stopped and lost a node."""
    server = "http://127.0.0.1:5000"
    with cluster.open("attach", "-p", "5000", str(cluster.file)):
        page = wait_until(lambda: cluster.ask(f"{server}/"), "MLflow's page")
        mlflow = MlflowClient(server)
        runs = mlflow.search_runs([mlflow.get_experiment_by_name("smollm_grid").experiment_id])
        (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
        files = [file.path for file in mlflow.list_artifacts(parent.info.run_id, "figures")]
    assert b"MLflow" in page
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert len({run.info.run_name for run in runs}) == 4
    assert "figures/figures.html" in files


def test_down_leaves_nothing_behind(cluster: Launched, machines: list[Host]) -> None:
    cluster.ray("down", "-y", str(cluster.file))
    assert cluster.ask(f"{DASHBOARD}/api/version") is None
    cluster.tunnels.close()
    for host in machines:
        wait_until(lambda host=host: not host.processes(), f"an end of what runs on {host.name}")
