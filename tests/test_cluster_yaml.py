"""cluster.yaml, as Ray's own loader reads it: no cloud is called."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.tracking.ui import PATIENT

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "cluster.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """The configuration with Ray's defaults for AWS filled in, after its schema accepted it."""
    prepared: dict[str, Any] = prepare_config(yaml.safe_load(TEXT))
    validate_config(prepared)
    return prepared


@pytest.fixture(scope="module")
def workers(config: dict[str, Any]) -> dict[str, Any]:
    return {name: node for name, node in config["available_node_types"].items() if name != config["head_node_type"]}


def ray_starts(commands: list[str]) -> list[str]:
    return [command for command in commands if "ray start" in command]


def test_node_types(config: dict[str, Any], workers: dict[str, Any]) -> None:
    head = config["available_node_types"][config["head_node_type"]]
    assert head["max_workers"] == 0
    assert not re.match(r"[gp]\d", head["node_config"]["InstanceType"])
    for node in workers.values():
        assert node["min_workers"] == 0 <= node["max_workers"] <= config["max_workers"]
        assert re.match(r"[gp]\d", node["node_config"]["InstanceType"]), "a worker needs a GPU"
    for node in config["available_node_types"].values():
        assert re.fullmatch(r"ami-[0-9a-f]{17}", node["node_config"]["ImageId"])
    assert 0 < config["idle_timeout_minutes"] <= 30


def test_the_cheaper_of_two_alike_is_tried_first(workers: dict[str, Any]) -> None:
    spot, on_demand = workers["l40s-spot"], workers["l40s"]
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot["priority"] > on_demand["priority"]
    same = ("node_config", "min_workers", "max_workers")
    assert [spot[field] for field in same] == [on_demand[field] for field in same]


def test_one_head_and_workers_that_join_it(config: dict[str, Any]) -> None:
    (head,) = ray_starts(config["head_start_ray_commands"])
    (worker,) = ray_starts(config["worker_start_ray_commands"])
    assert head.count("--head") == 1
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    assert "--head" not in worker
    assert "--address=$RAY_HEAD_IP:6379" in worker
    for command in (head, worker):
        assert "--object-store-memory=" in command


def test_every_node_asks_for_the_token_and_has_it(config: dict[str, Any]) -> None:
    for command in ray_starts(config["head_start_ray_commands"] + config["worker_start_ray_commands"]):
        assert " RAY_AUTH_MODE=token" in command[command.index("export ") : command.index("ray start")]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in config["worker_setup_commands"])


def test_nothing_but_ssh_listens_outside(config: dict[str, Any]) -> None:
    assert "0.0.0.0" not in TEXT
    assert "IpPermissions" not in config["provider"].get("security_group", {})
    (head,) = ray_starts(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    (server,) = (command for command in config["head_start_ray_commands"] if "mlflow server" in command)
    assert "--host 127.0.0.1 --port 5000" in server
    assert PATIENT in server


def test_every_node_gets_the_same_installation(config: dict[str, Any]) -> None:
    assert any(
        "/mnt/pursuit" in command and "mount -t nfs4" in command for command in config["initialization_commands"]
    )
    for commands in (config["head_setup_commands"], config["worker_setup_commands"]):
        assert commands.count("make -C ~/pursuit-lab install") == 1
        assert any(command.endswith("/usr/local/bin/ray") for command in commands), "`ray down` needs ray on the PATH"


def test_mounted_paths_are_those_an_installation_needs(config: dict[str, Any]) -> None:
    mounts = {remote.removeprefix("~/pursuit-lab/"): local for remote, local in config["file_mounts"].items()}
    del mounts["~/.ray/auth_token"]
    assert all(remote == local for remote, local in mounts.items())
    assert mounts.keys() >= {"kernels", "models", "orchestrator", "sweeps"}
    assert mounts.keys() >= {"Makefile", "pyproject.toml", "requirements.lock", "README.md"}
    assert [local for local in mounts if not (ROOT / local).exists()] == []
