"""Machines of one's own: `provider: {type: local}`."""

import ipaddress
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deploy.ray_schema import prepared

NODE_TYPE = "local.cluster.node"  # Ray's name for the one that these hosts have
FOR_DOCUMENTATION = [ipaddress.ip_network(each) for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
FIRST_AUTOSCALER = "RAY_enable_autoscaler_v2=0"
CONNECT_S = 5
AT_ONCE = 16


def findings(config: dict[str, Any]) -> Iterator[str]:
    """Hosts that are placeholders, named twice, never started, or not to be reached."""
    provider = config["provider"]
    if "coordinator_address" in provider:  # it knows the hosts, and nothing here does
        return
    named = [("provider.head_ip", str(provider["head_ip"]))]
    named += [("provider.worker_ips", str(host)) for host in provider["worker_ips"]]
    first: dict[str, str] = {}
    for field, host in named:
        if is_placeholder(host):
            yield f"{field} {host!r}: is a placeholder; name a host or its address"
        elif host in first:
            yield f"{field} {host!r}: is named in {first[host]} already; every host is to be named once"
        else:
            first[host] = field
    yield from _counts(config)
    yield from _reached(config.get("auth") or {}, first)


def is_placeholder(host: str) -> bool:
    """Whether this is no host: `...`, `HEAD_IP`, `10.0.0.x`, or an address of those kept for documentation."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        words = re.fullmatch(r"(?!\d+(\.\w+)*$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host)
        return not words or bool(re.search(r"(^|[.-])(your|example)([.-]|$)", host.lower()))
    return address.is_unspecified or any(address in network for network in FOR_DOCUMENTATION if address.version == 4)


def _counts(config: dict[str, Any]) -> Iterator[str]:
    """Workers that Ray would leave out.

    Its second autoscaler, which is on unless the head's start commands switch it off, knows the head of such a cluster
    only if the head and whoever calls `ray up` share a temporary directory; if not, it starts nothing. A head that it
    knows is counted as one of min_workers, which Ray lowers to the number of worker_ips: one worker is missing.
    """
    hosts = len(config["provider"]["worker_ips"])
    if not hosts:
        return
    node = prepared(config)["available_node_types"][NODE_TYPE]
    for field in ("min_workers", "max_workers"):
        if node[field] < hosts:
            yield f"{field} {config[field]}: must be {hosts}, as there are worker_ips, or be left out"
    if not any(FIRST_AUTOSCALER in str(command) for command in config.get("head_start_ray_commands") or []):
        yield (
            f"head_start_ray_commands: Ray's second autoscaler leaves out some or all of the {hosts} worker_ips; "
            f"`export {FIRST_AUTOSCALER}` before `ray start`, as in cluster.yaml, starts all"
        )


def _reached(auth: dict[str, Any], hosts: dict[str, str]) -> Iterator[str]:
    """All at once: those that do not answer take seconds."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        said = threads.map(lambda host: _no_ssh(ssh_command(auth, host)), hosts)
        for (host, field), why in zip(hosts.items(), said, strict=True):
            if why:
                yield f"{field} {host!r}: ssh does not get in as {auth.get('ssh_user')}: {why}"


def ssh_command(auth: dict[str, Any], host: str) -> list[str]:
    """With the options that Ray will use, so that it succeeds where Ray does; it never asks a person."""
    options = [
        "BatchMode=yes", f"ConnectTimeout={CONNECT_S}", "IdentitiesOnly=yes",
        "StrictHostKeyChecking=no", f"UserKnownHostsFile={os.devnull}", "LogLevel=ERROR",
    ]  # fmt: skip
    if proxy := auth.get("ssh_proxy_command"):
        options.append(f"ProxyCommand={proxy}")
    command = ["ssh", *(word for option in options for word in ("-o", option))]
    if key := auth.get("ssh_private_key"):
        command += ["-i", str(Path(key).expanduser())]
    return [*command, "--", f"{auth.get('ssh_user')}@{host}", "true"]


def _no_ssh(command: Sequence[str]) -> str | None:
    """Why there is no way in; None if there is."""
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=6 * CONNECT_S, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return "there is no ssh on this machine's PATH"
    except subprocess.TimeoutExpired:
        return f"no answer within {6 * CONNECT_S} seconds"
    if run.returncode == 0:
        return None
    lines = run.stderr.strip().splitlines()
    return lines[-1].strip() if lines else f"exit status {run.returncode}"
