"""deploy/rayjob.yaml and what it needs: held against KubeRay's schema, if that is at hand, and what no schema says."""

import copy
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.driver.cli import Command
from orchestrator.driver.script import read_command_line
from orchestrator.grid.config import SweepConfig
from sweeps.smollm_grid import PRESETS
from tests.support.crd import mistakes, schema_of, strict

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
JOB: dict[str, Any] = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text(encoding="utf-8"))
CLAIM: dict[str, Any] = yaml.safe_load((DEPLOY / "storage.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
CLUSTER = JOB["spec"]["rayClusterSpec"]
HEAD = CLUSTER["headGroupSpec"]
WORKERS = CLUSTER["workerGroupSpecs"]
UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def groups() -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Head and workers: the group, its pod and the container that runs Ray."""
    for group in (HEAD, *WORKERS):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        yield group, pod, container


def size(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w*)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def shm(pod: dict[str, Any], container: dict[str, Any]) -> dict[str, Any]:
    (mount,) = (each for each in container["volumeMounts"] if each["mountPath"] == "/dev/shm")
    (volume,) = (each for each in pod["volumes"] if each["name"] == mount["name"])
    directory: dict[str, Any] = volume["emptyDir"]
    return directory


# --- KubeRay's own schema ---


@pytest.mark.skipif("KUBERAY_CRD" not in os.environ, reason="KUBERAY_CRD names no file: ray.io_rayjobs.yaml of KubeRay")
def test_kuberay_knows_every_field() -> None:
    schema = schema_of(Path(os.environ["KUBERAY_CRD"]).read_text(encoding="utf-8"), JOB["apiVersion"].partition("/")[2])
    assert mistakes(JOB, schema) == []
    wrong = copy.deepcopy(JOB)
    wrong["spec"]["rayClusterSpec"]["authOptions"]["modes"] = "token"
    wrong["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] = 1
    assert len(mistakes(wrong, schema)) == 2


def test_unknown_fields_are_refused_at_every_depth() -> None:
    inner = {"type": "object", "properties": {"properties": {"type": "integer"}}}
    schema = strict({"type": "object", "properties": {"one": inner, "free": {"type": "object"}}, "required": ["one"]})
    assert mistakes({"one": {"properties": 1}, "free": {"anything": 1}}, schema) == []
    (found,) = mistakes({"one": {"properties": 1, "more": 2}}, schema)
    assert found.startswith("$.one: ")
    assert "'more' was unexpected" in found


# --- what KubeRay asks beside it, and what it does not know ---


def test_tokens_are_asked_for_and_ray_is_the_locked_one() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token"}, "delegating to Kubernetes is refused for jobs"
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert f"\nray=={CLUSTER['rayVersion']}\n" in lock
    assert tuple(map(int, CLUSTER["rayVersion"].split("."))) >= (2, 52), "the first with tokens"


def test_the_name_leaves_room_for_what_kuberay_adds() -> None:
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", JOB["metadata"]["name"])


def test_gpu_pods_come_for_trials_and_go() -> None:
    assert CLUSTER["enableInTreeAutoscaling"] is True
    assert CLUSTER["autoscalerOptions"]["version"] == "v2"
    for group in WORKERS:
        assert group["minReplicas"] == 0
        assert group["replicas"] == group["maxReplicas"], "a sweep plans for the GPUs it finds"
    for _, pod, _ in groups():
        assert pod.get("restartPolicy", "Never") == "Never", "the second autoscaler starts pods anew itself"
    assert JOB["spec"]["shutdownAfterJobFinishes"] is True


def test_trials_run_on_gpu_pods_alone() -> None:
    assert HEAD["rayStartParams"]["num-cpus"] == "0"
    (_, _, head), *workers = groups()
    assert "nvidia.com/gpu" not in head["resources"]["limits"]
    assert [worker["resources"]["limits"]["nvidia.com/gpu"] for _, _, worker in workers] == ["1"] * len(WORKERS)


def test_the_object_store_fits_its_memory() -> None:
    for group, pod, container in groups():
        directory, store = shm(pod, container), int(group["rayStartParams"]["object-store-memory"])
        assert directory["medium"] == "Memory"
        assert store <= size(directory["sizeLimit"]) <= size(container["resources"]["limits"]["memory"]) // 2
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_every_pod_sees_the_storage_that_the_sweep_writes_to() -> None:
    words = shlex.split(JOB["spec"]["entrypoint"])
    storage = words[words.index("--storage") + 1]
    for _, pod, container in groups():
        (mount,) = (each for each in container["volumeMounts"] if each["mountPath"] == storage)
        (volume,) = (each for each in pod["volumes"] if each["name"] == mount["name"])
        assert volume["persistentVolumeClaim"] == {"claimName": CLAIM["metadata"]["name"]}
        assert next(each["value"] for each in container["env"] if each["name"] == "HF_HOME").startswith(f"{storage}/")
    assert CLAIM["kind"] == "PersistentVolumeClaim"
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_entrypoint_is_a_command_line_of_that_script() -> None:
    python, script, *argv = shlex.split(JOB["spec"]["entrypoint"])
    assert python == "python"
    assert script == "sweeps/smollm_grid.py"
    request = read_command_line(argv, SweepConfig, Command, lambda name: PRESETS[name], "", "smollm_grid")
    assert str(request.cfg.storage) == "/mnt/pursuit"
    assert request.cfg.model == PRESETS["paper"].model


def test_nothing_runs_as_root() -> None:
    for _, pod, container in groups():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert str(pod["securityContext"]["runAsUser"]) == instruction("USER")
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert all(group["template"]["spec"]["automountServiceAccountToken"] is False for group in WORKERS)


# --- the image ---


def instruction(name: str) -> str:
    """The argument of the last one of that name."""
    return re.findall(rf"^{name} (.+)$", DOCKERFILE, re.MULTILINE)[-1]


def test_the_image_has_what_an_installation_needs() -> None:
    copied = [
        word for line in re.findall(r"^COPY --chown=\S+ (.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    ]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    mounts = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))["file_mounts"]
    prefix = "~/pursuit-lab/"
    assert set(copied) == {there.removeprefix(prefix) for there in mounts if there.startswith(prefix)}
    assert instruction("USER").isdigit(), "Kubernetes cannot see of a name that it is not root"
    assert f"{instruction('WORKDIR')}/.venv/bin:" in DOCKERFILE
    for _, _, container in groups():
        assert container["workingDir"] == instruction("WORKDIR")
    assert {"make", "gcc", "wget"} <= set(DOCKERFILE.split()), "KubeRay's probes run wget"
