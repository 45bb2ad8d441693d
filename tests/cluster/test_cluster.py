"""`ray up cluster.yaml` on three hosts, a sweep on all of them, and a host that loses its power in the middle."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.hosts import CHECKOUT, LAPTOP, SHARED, Host, hosts
from tests.cluster.launched import DASHBOARD, Launched, on_these_hosts
from tests.support.s3_server import BUCKET, S3Server
from tests.support.waiting import wait_until

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
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[list[Host]]:
    with hosts(tmp_path_factory.mktemp("hosts"), ["head", "one", "two"], shared) as made:
        yield made


@pytest.fixture(scope="module")
def cluster(machines: list[Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
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


def results(shared: Path, name: str) -> dict[str, dict[str, float]]:
    return json.loads((shared / name / "results.json").read_text(encoding="utf-8"))["results"]


def checkpoints(shared: Path, name: str) -> list[Path]:
    return [found for found in shared.glob(f"{name}/trials/*/step-*") if not (found.parent / "result.json").exists()]


def runs_on(host: Host, *titles: str) -> bool:
    return any(title in line for line in host.processes() for title in titles)


@pytest.fixture(scope="module")
def undisturbed(cluster: Launched, machines: list[Host], shared: Path) -> dict[str, dict[str, float]]:
    """Results of a sweep that ran on every node and that nothing happened to."""
    cluster.submit("undisturbed", *SWEEP, "--storage", str(SHARED), "--name", "undisturbed")
    used: set[str] = set()

    def over() -> bool:
        used.update(host.name for host in machines if runs_on(host, TRIAL, EXTRACTOR))
        return cluster.status("undisturbed") not in ("PENDING", "RUNNING")

    wait_until(over, "the undisturbed sweep")
    log = cluster.ray("job", "logs", "undisturbed")
    assert cluster.status("undisturbed") == "SUCCEEDED", log
    assert used == {"head", "one", "two"}
    assert re.search(r"trials \d/3 done", log), "a job's log shows how far it is"
    assert "compare in MLflow: http://127.0.0.1:5000/" in log
    found = results(shared, "undisturbed")
    assert len(found) == TRIALS
    return found


def test_a_stopped_job_goes_on_where_it_was(undisturbed: dict, cluster: Launched, shared: Path) -> None:
    cluster.submit("stopped", *SWEEP, "--storage", str(SHARED), "--name", "stopped")
    wait_until(lambda: checkpoints(shared, "stopped"), "a checkpoint")
    cluster.ray("job", "stop", "stopped")
    assert cluster.ended("stopped") == "STOPPED"
    (pasted,) = re.findall("what was done is kept; continue with .*?(sweeps/.*)", cluster.ray("job", "logs", "stopped"))
    assert not (shared / "stopped" / "results.json").exists() or len(results(shared, "stopped")) == TRIALS
    cluster.submit("resumed", "python", *pasted.split())
    assert cluster.ended("resumed") == "SUCCEEDED", cluster.ray("job", "logs", "resumed")
    assert results(shared, "stopped") == undisturbed


def test_a_lost_node_changes_nothing(
    undisturbed: dict, cluster: Launched, machines: list[Host], s3_server: S3Server
) -> None:
    """Nor does it where the nodes share nothing but an address."""
    environment = json.dumps({"env_vars": s3_server.environment})
    storage = ["--storage", f"s3://{BUCKET}/sweeps", "--name", "killed"]
    cluster.submit("killed", *SWEEP, *storage, options=["--runtime-env-json", environment])

    def training_elsewhere() -> Host | None:
        assert cluster.status("killed") in ("PENDING", "RUNNING"), cluster.ray("job", "logs", "killed")
        trains = [host for host in machines[1:] if runs_on(host, TRIAL)]
        return trains[0] if trains and s3_server.keys("sweeps/killed/trials") else None

    victim = wait_until(training_elsewhere, "a checkpoint, and a trial on a node that can be lost")
    victim.kill()
    assert cluster.ended("killed") == "SUCCEEDED", cluster.ray("job", "logs", "killed")
    found = s3_server.client().get_object(Bucket=BUCKET, Key="sweeps/killed/results.json")["Body"].read()
    assert json.loads(found)["results"] == undisturbed
    wait_until(lambda: cluster.nodes() == 2, "the dashboard's notice that the node is gone")


def test_the_comparison_is_seen_through_ray_attach(undisturbed: dict, cluster: Launched) -> None:
    mlflow = "http://127.0.0.1:5000"
    experiment = f"{mlflow}/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=smollm_grid"
    with cluster.open("attach", "-p", "5000", str(cluster.file)):
        page = wait_until(lambda: cluster.ask(f"{mlflow}/"), "MLflow's page")
        found = json.loads(wait_until(lambda: cluster.ask(experiment), "MLflow's answer"))
    assert b"MLflow" in page
    assert found["experiment"]["lifecycle_stage"] == "active"


def test_down_leaves_nothing_behind(undisturbed: dict, cluster: Launched, machines: list[Host]) -> None:
    cluster.ray("down", "-y", str(cluster.file))
    assert cluster.ask(f"{DASHBOARD}/api/version") is None
    cluster.tunnels.close()
    for host in machines:
        wait_until(lambda host=host: not host.processes(), f"an end of what runs on {host.name}")
