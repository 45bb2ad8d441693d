"""cluster.yaml through Ray's AWS provider, from an empty account to the last worker's end; no cloud is called.

Instances answer in botocore's Stubber (tests/support/aws.py), and what Ray would run on them over ssh is written down.
"""

import shlex
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from botocore.stub import ANY
from ray.autoscaler._private import commands
from ray.autoscaler._private.aws import config as ray_aws
from ray.autoscaler._private.aws import node_provider as ray_instances
from ray.autoscaler._private.constants import BOTO_CREATE_MAX_RETRIES
from ray.autoscaler.v2.instance_manager.config import FileConfigReader
from ray.autoscaler.v2.instance_manager.node_provider import LaunchNodeError, NodeProviderAdapter
from ray.autoscaler.v2.instance_manager.ray_installer import RayInstaller
from ray.core.generated.instance_manager_pb2 import Instance

from orchestrator.grid.hardware import largest
from tests.support.aws import GROUP, KEY_MATERIAL, PROFILE_ARN, SUBNET, Account, stubbed_account
from tests.support.waiting import LIMIT_SECONDS

ROOT = Path(__file__).resolve().parents[2]
CLUSTER: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
NAME: str = CLUSTER["cluster_name"]
REGION: str = CLUSTER["provider"]["region"]
ZONES: list[str] = [zone.strip() for zone in CLUSTER["provider"]["availability_zone"].split(",")]
HEAD: str = CLUSTER["head_node_type"]
TYPES: dict[str, Any] = CLUSTER["available_node_types"]
WORKERS = sorted(set(TYPES) - {HEAD})
CONFIG_ON_HEAD = "~/ray_bootstrap_config.yaml"


class Shell:
    """Runs nothing and keeps what it was asked to run: stands where Ray calls `subprocess`."""

    DEVNULL = subprocess.DEVNULL
    PIPE = subprocess.PIPE

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.copied: dict[str, str] = {}
        """Text of single files by the place they were sent to."""

    def check_call(self, command: list[str], **_: object) -> int:
        if command[0] == "rsync":
            source, target = command[-2], command[-1].partition(":")[2]
            self.lines.append(f"rsync {target}")
            if Path(source).is_file():
                self.copied[target] = Path(source).read_text(encoding="utf-8")
        else:
            self.lines.append(_remote(command))
        return 0

    def positions(self, part: str) -> list[int]:
        """Where in the order commands that contain this were run."""
        return [number for number, line in enumerate(self.lines) if part in line]

    def position(self, part: str) -> int:
        (found,) = self.positions(part)
        return found


def _remote(command: list[str]) -> str:
    """What an ssh command runs on the other side, without the shell that Ray puts around it."""
    return shlex.split(command[-1])[-1] if command[0] == "ssh" else shlex.join(command)


@pytest.fixture(autouse=True)
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody with AWS credentials and the cluster's token, no ssh key yet, and no patience."""
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64, encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "RAY_UP_enable_autoscaler_v2"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr(ray_aws, "time", SimpleNamespace(sleep=lambda seconds: None))  # half a minute for IAM
    monkeypatch.setattr(ray_instances, "TAG_BATCH_DELAY", 0)


@pytest.fixture
def account() -> Iterator[Account]:
    with stubbed_account(REGION) as stubbed:
        yield stubbed


def resolved(account: Account, *, new: bool = True) -> dict[str, Any]:
    """The configuration as `ray up` completes it, in an account that is new or has seen this cluster before."""
    gpus = {node["node_config"]["InstanceType"]: int(name != HEAD) for name, node in TYPES.items()}
    account.tells_instance_types(gpus)
    (account.has_no_role if new else account.has_role)()
    (account.has_no_key_pair if new else account.has_key_pair)()
    account.has_subnets([*ZONES, f"{REGION}z"])
    (account.has_no_security_group if new else account.has_security_group)(NAME)
    config: dict[str, Any] = commands._bootstrap_config(CLUSTER, no_config_cache=True)
    return config


def key_path(account: Account) -> Path:
    return Path.home() / ".ssh" / f"{account.key_name}.pem"


# --- the account ---


def test_a_new_account_gets_role_key_and_security_group(account: Account) -> None:
    config = resolved(account)
    assert config["head_node"] == {"IamInstanceProfile": {"Arn": PROFILE_ARN}}, "workers may not start instances"
    assert config["auth"]["ssh_private_key"] == str(key_path(account))
    assert key_path(account).read_text(encoding="utf-8") == KEY_MATERIAL
    assert stat.S_IMODE(key_path(account).stat().st_mode) == 0o600
    for name, node in config["available_node_types"].items():
        added = {"KeyName": account.key_name, "SubnetIds": [SUBNET], "SecurityGroupIds": [GROUP]}
        assert node["node_config"] == TYPES[name]["node_config"] | added
        assert node["resources"].get("GPU", 0) == int(name != HEAD), "trials wait for a GPU that no type offers"
    assert largest(config)["GPU"] == config["max_workers"] == 8, "what a sweep plans for"


def test_an_account_that_knows_the_cluster_gets_nothing_new(account: Account) -> None:
    key_path(account).parent.mkdir()
    key_path(account).write_text(KEY_MATERIAL, encoding="utf-8")
    config = resolved(account, new=False)
    assert config["head_node"] == {"IamInstanceProfile": {"Arn": PROFILE_ARN}}
    assert {tuple(n["node_config"]["SecurityGroupIds"]) for n in config["available_node_types"].values()} == {(GROUP,)}


# --- the head ---


def tags_of(name: str, *, kind: str) -> dict[str, Any]:
    return {
        "Name": f"ray-{NAME}-{kind}",
        "ray-cluster-name": NAME,
        "ray-launch-config": ANY,
        "ray-node-status": "uninitialized",
        "ray-node-type": kind,
        "ray-user-node-type": name,
    }


def takes_setup(account: Account, instance: dict[str, Any]) -> None:
    """The tags by which an instance shows how far its setup is."""
    for status in ("waiting-for-ssh", "syncing-files", "setting-up", "up-to-date"):
        account.takes_tag(instance, "ray-node-status", status)
    for name in ("ray-runtime-config", "ray-file-mounts-contents"):
        account.takes_tag(instance, name, ANY)


def up(account: Account) -> tuple[dict[str, Any], dict[str, Any], Shell]:
    """`ray up`: the completed configuration, the head, and what was run there."""
    config = resolved(account)
    node_config = config["head_node"] | config["available_node_types"][HEAD]["node_config"]
    account.tells_instances(NAME, [], node_type="head")
    (head,) = account.starts(node_config, tags_of(HEAD, kind="head"), 1)
    named = {"node_type": "head", "user_node_type": HEAD, "launch_config": ANY, "node_status": "uninitialized"}
    named |= {"Name": f"ray-{NAME}-head"}
    account.tells_instances(NAME, [head], **named)
    takes_setup(account, head)
    account.tells_instances(NAME, [head], **named)
    shell = Shell()
    commands.get_or_create_head_node(
        config,
        printable_config_file="cluster.yaml",
        no_restart=False,
        restart_only=False,
        yes=True,
        override_cluster_name=None,
        _runner=shell,  # type: ignore[arg-type]  # Ray says module
    )
    return config, head, shell


def test_ray_up_starts_one_head_and_sets_it_up(account: Account) -> None:
    _, head, shell = up(account)
    account.all_calls_were_made()
    setup = [*CLUSTER["setup_commands"], *CLUSTER["head_setup_commands"], *CLUSTER["head_start_ray_commands"]]
    places = [shell.position(command) for command in setup]
    assert places == sorted(places)
    for target in CLUSTER["file_mounts"]:
        assert shell.position(f"rsync {target}") < places[0]
    assert f"RAY_CLOUD_INSTANCE_ID={head['InstanceId']}" in shell.lines[shell.position("ray start --head")]
    on_head = yaml.safe_load(shell.copied[CONFIG_ON_HEAD])
    assert "head_node" not in on_head, "the head's role would be given to workers"
    assert shell.copied[on_head["auth"]["ssh_private_key"]] == KEY_MATERIAL


# --- workers, as the head starts them ---


class Head:
    """What runs on the head: the second autoscaler, with the configuration that `ray up` put there."""

    def __init__(self, account: Account) -> None:
        _, self.instance, shell = up(account)
        self.account = account
        _lay_out_head(shell)
        reader = FileConfigReader(str(Path(CONFIG_ON_HEAD).expanduser()), skip_content_hash=False)
        self.config = reader.get_cached_autoscaling_config()
        self.provider = ray_instances.AWSNodeProvider(self.config.get_config("provider"), NAME)
        self.autoscaler = NodeProviderAdapter(self.provider, reader, max_concurrent_launches=1)

    def node_config(self, name: str) -> dict[str, Any]:
        said: dict[str, Any] = self.config.get_cloud_node_config(name)
        return said

    def wait(self) -> None:
        """Until what the autoscaler hands to other threads is done."""
        for queue in (self.autoscaler._main_executor, self.autoscaler._node_launcher_executors):  # of one thread each
            queue.submit(lambda: None).result(LIMIT_SECONDS)

    def close(self) -> None:
        self.autoscaler._main_executor.shutdown()
        self.autoscaler._node_launcher_executors.shutdown()


def _lay_out_head(shell: Shell) -> None:
    """The head's home as `ray up` left it, here in the person's own: the head hands the same files to workers."""
    for target, text in shell.copied.items():
        Path(target).expanduser().parent.mkdir(parents=True, exist_ok=True)
        Path(target).expanduser().write_text(text, encoding="utf-8")
    for target, source in CLUSTER["file_mounts"].items():
        there = Path(target).expanduser()
        if not there.exists():
            there.symlink_to(ROOT / source)


@pytest.fixture
def head(account: Account) -> Iterator[Head]:
    running = Head(account)
    yield running
    running.close()


def test_workers_of_every_type_come_and_go(head: Head) -> None:
    started: dict[str, str] = {}
    for name in WORKERS:
        tags = tags_of(name, kind="worker") | {"ray-launch-request": f"request of {name}"}
        made = head.account.starts(head.node_config(name), tags, 2)
        head.autoscaler.launch({name: 2}, f"request of {name}")
        head.wait()
        started |= {instance["InstanceId"]: name for instance in made}
    assert head.autoscaler.poll_errors() == []
    head.account.tells_instances(NAME, head.account.started)
    running = head.autoscaler.get_non_terminated()
    assert running.pop(head.instance["InstanceId"]).node_type == HEAD
    assert {instance: each.node_type for instance, each in running.items()} == started
    assert all(each.is_running and each.request_id == f"request of {each.node_type}" for each in running.values())
    head.account.ends(head.account.started[1:])
    head.autoscaler.terminate(list(started), "the end")
    head.wait()
    assert head.autoscaler.poll_errors() == []


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_set_up_over_ssh_from_the_head(head: Head, name: str) -> None:
    tags = tags_of(name, kind="worker") | {"ray-launch-request": "one"}
    (worker,) = head.account.starts(head.node_config(name), tags, 1)
    head.autoscaler.launch({name: 1}, "one")
    head.wait()
    head.account.tells_instances(NAME, head.account.started)
    head.autoscaler.get_non_terminated()
    takes_setup(head.account, worker)
    shell = Shell()
    there = Instance(instance_type=name, cloud_instance_id=worker["InstanceId"])
    RayInstaller(head.provider, head.config, shell).install_ray(there, head.instance["PrivateIpAddress"])
    # The head merges what `ray up` had merged already, so commands for all nodes run twice: they must stand that.
    setup = [shell.positions(command) for command in CLUSTER["setup_commands"]]
    assert setup == [[first, first + len(setup)] for first in range(setup[0][0], setup[0][0] + len(setup))]
    rest = [*CLUSTER.get("worker_setup_commands", []), *CLUSTER["worker_start_ray_commands"]]
    places = [setup[-1][-1], *(shell.position(command) for command in rest)]
    assert places == sorted(places)
    start = shell.lines[shell.position("ray start")]
    assert f"RAY_HEAD_IP={head.instance['PrivateIpAddress']}" in start
    assert "--head" not in start


@pytest.mark.parametrize("name", WORKERS)
def test_a_zone_without_capacity_is_told_to_the_autoscaler(head: Head, name: str) -> None:
    """So that it tries the next type: a launch that failed silently would be waited for."""
    tags = tags_of(name, kind="worker") | {"ray-launch-request": "one"}
    for _ in range(BOTO_CREATE_MAX_RETRIES):
        head.account.has_none_to_start(head.node_config(name), tags, 1)
    head.autoscaler.launch({name: 1}, "one")
    head.wait()
    (error,) = head.autoscaler.poll_errors()
    assert isinstance(error, LaunchNodeError)
    assert (error.node_type, error.count, error.request_id) == (name, 1, "one")
    assert getattr(error.__cause__, "category", None) == "InsufficientInstanceCapacity"
