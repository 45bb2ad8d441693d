"""python -m deploy.check of machines of one's own; ssh goes to an sshd here, or to nobody."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.schema import AutoscalerInstance
from ray.core.generated.autoscaler_pb2 import NodeState, NodeStatus
from ray.core.generated.instance_manager_pb2 import Instance, NodeKind

from deploy import check, hosts
from deploy.ray_schema import prepared
from tests.support.waiting import wait_until

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")


def local(head: object, *workers: object, **fields: Any) -> dict[str, Any]:
    provider = {"type": "local", "head_ip": head, "worker_ips": list(workers)}
    begin = {"head_start_ray_commands": [f"export {hosts.FIRST_AUTOSCALER}; ray start --head"]}
    return {"cluster_name": "ours", "provider": provider, "auth": {"ssh_user": getpass.getuser()}} | begin | fields


@pytest.fixture
def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[object], list[str]]:
    def run(config: object) -> list[str]:
        path = tmp_path / "ours.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        check.main([str(path)])
        lines: list[str] = capsys.readouterr().out.splitlines()
        return lines

    return run


@pytest.fixture
def everybody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` that gets in everywhere and writes down where: its last word but one is who@where."""
    log = tmp_path / "asked"
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(log)!r}, 'a').write(sys.argv[-2] + '\\n')\n", "utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return log


# --- names of hosts ---


@pytest.mark.parametrize(
    "host",
    [
        "...",
        "HEAD_IP",
        "<head>",
        "YOUR-HEAD",
        "your.host.name",
        "10.0.0.x",
        "10.0.0",
        "head.example.com",
        "192.0.2.7",
        "-oX=y",
    ],
)
def test_placeholders_are_known(host: str) -> None:
    assert hosts.is_placeholder(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "gpu1", "gpu-1.lab.internal", "fd00::1", "1and1.de"])
def test_hosts_are_hosts(host: str) -> None:
    assert not hosts.is_placeholder(host)


def test_every_host_is_asked_once_and_nothing_is_to_mend(
    checked: Callable[[object], list[str]], everybody_answers: Path
) -> None:
    (line,) = checked(local("10.0.0.1", "10.0.0.2", "gpu3"))
    assert line.endswith(check.NOTHING)
    me = getpass.getuser()
    asked = everybody_answers.read_text(encoding="utf-8").splitlines()
    assert sorted(asked) == [f"{me}@{host}" for host in ("10.0.0.1", "10.0.0.2", "gpu3")]


def test_placeholders_and_hosts_named_twice(checked: Callable[[object], list[str]], everybody_answers: Path) -> None:
    lines = checked(local("HEAD_IP", "10.0.0.2", "10.0.0.2"))
    assert lines == [
        "provider.head_ip 'HEAD_IP': is a placeholder; name a host or its address",
        "provider.worker_ips '10.0.0.2': is named in provider.worker_ips already; every host is to be named once",
    ]
    assert len(everybody_answers.read_text(encoding="utf-8").splitlines()) == 1


def test_a_head_that_is_a_worker_too(checked: Callable[[object], list[str]], everybody_answers: Path) -> None:
    (line,) = checked(local("10.0.0.1", "10.0.0.1"))
    assert line.startswith("provider.worker_ips '10.0.0.1': is named in provider.head_ip already")


# --- how many start ---


def test_fewer_workers_than_hosts(checked: Callable[[object], list[str]], everybody_answers: Path) -> None:
    lines = checked(local("10.0.0.1", "10.0.0.2", "10.0.0.3", min_workers=1, max_workers=1))
    assert lines == [
        f"{field}_workers 1: must be 2, as there are worker_ips, or be left out" for field in ("min", "max")
    ]


def planned(config: dict[str, Any]) -> int:
    """Workers that Ray's second autoscaler would start at once, by its own scheduler."""
    reader = AutoscalingConfig(prepared(config), skip_content_hash=True)
    there = Instance(
        instance_type=hosts.NODE_TYPE, instance_id="head", status=Instance.RAY_RUNNING, node_kind=NodeKind.HEAD
    )
    ray_node = NodeState(ray_node_type_name=hosts.NODE_TYPE, instance_id="head", status=NodeStatus.RUNNING)
    head = AutoscalerInstance(cloud_instance_id="head", ray_node=ray_node, im_instance=there)
    asked = SchedulingRequest(
        node_type_configs=reader.get_node_type_configs(),
        max_num_nodes=reader.get_max_num_nodes(),
        current_instances=[head],
        disable_launch_config_check=True,
    )
    return sum(each.count for each in ResourceDemandScheduler(None).schedule(asked).to_launch)


@pytest.mark.parametrize("given", [{}, {"min_workers": 2, "max_workers": 2}, {"min_workers": 3, "max_workers": 3}])
def test_the_second_autoscaler_leaves_a_worker_out(
    checked: Callable[[object], list[str]],
    everybody_answers: Path,
    given: dict[str, int],
) -> None:
    """Should this fail with another Ray, then what the check says of it is no longer so."""
    config = local("10.0.0.1", "10.0.0.2", "10.0.0.3", **given)
    assert planned(config) == 1
    (line,) = checked(config | {"head_start_ray_commands": ["ray start --head"]})
    assert line.startswith("head_start_ray_commands: Ray's second autoscaler leaves out some or all of the 2 ")


def test_no_worker_needs_no_autoscaler(checked: Callable[[object], list[str]], everybody_answers: Path) -> None:
    (line,) = checked(local("10.0.0.1", head_start_ray_commands=["ray start --head"]))
    assert line.endswith(check.NOTHING)


# --- the way in ---


@pytest.fixture
def way_in(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of an sshd on this machine's loopback, and the key that it takes."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd here")
    for name in ("host", "ours", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    options = {
        "ListenAddress": "127.0.0.1", "Port": port, "HostKey": tmp_path / "host", "UsePAM": "no", "StrictModes": "no",
        "AuthorizedKeysFile": tmp_path / "ours.pub", "PidFile": "none", "PasswordAuthentication": "no",
    }  # fmt: skip
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    with subprocess.Popen([SSHD, "-D", "-f", "/dev/null", *words], stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port, server)
            yield port, tmp_path / "ours"
        finally:
            server.terminate()


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    def listens() -> bool:
        if server.poll() is not None:
            pytest.skip("sshd does not start here")
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, "sshd")


def through(port: int, key: Path) -> dict[str, str]:
    """Every host is reached through a command that goes to this port, as it is with a jump host."""
    join = "import socket,sys,threading as t;s=socket.create_connection(('127.0.0.1',int(sys.argv[1])));"
    join += "f=lambda r,w:[w(b) for b in iter(lambda:r(65536),b'')];"
    join += (
        "t.Thread(target=f,args=(s.recv,lambda b:(sys.stdout.buffer.write(b),sys.stdout.flush())),daemon=True).start();"
    )
    join += "f(sys.stdin.buffer.raw.read,s.sendall)"
    command = f'{sys.executable} -c "{join}" {port}'
    return {"ssh_user": getpass.getuser(), "ssh_private_key": str(key), "ssh_proxy_command": command}


def test_hosts_that_the_key_opens(checked: Callable[[object], list[str]], way_in: tuple[int, Path]) -> None:
    (line,) = checked(local("10.0.0.1", "10.0.0.2", auth=through(*way_in)))
    assert line.endswith(check.NOTHING)


def test_a_key_that_is_not_taken(checked: Callable[[object], list[str]], way_in: tuple[int, Path]) -> None:
    port, key = way_in
    (line,) = checked(local("10.0.0.1", auth=through(port, key.with_name("other"))))
    assert line.startswith(f"provider.head_ip '10.0.0.1': ssh does not get in as {getpass.getuser()}: ")
    assert "Permission denied" in line


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
def test_a_host_where_nobody_listens(checked: Callable[[object], list[str]], tmp_path: Path) -> None:
    (line,) = checked(local("127.0.0.1", auth={"ssh_user": "nobody", "ssh_proxy_command": "false"}))
    assert line.startswith("provider.head_ip '127.0.0.1': ssh does not get in as nobody: ")


def test_without_ssh(checked: Callable[[object], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    (line,) = checked(local("10.0.0.1"))
    assert line.endswith("there is no ssh on this machine's PATH")
