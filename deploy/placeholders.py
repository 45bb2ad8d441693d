"""Values of an AWS configuration that a person was to fill in, and values that contradict each other."""

import re
from collections.abc import Iterator
from typing import Any

FILE_SYSTEM = re.compile(r"\b(fs-[0-9a-f]+)\.efs\.([a-z0-9-]+)\.amazonaws\.com")
COMMANDS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands",
)  # fmt: skip


def findings(config: dict[str, Any]) -> Iterator[str]:
    """What can be seen without asking AWS."""
    region = config["provider"].get("region")
    for zone in zones(config):
        if not re.fullmatch(rf"{re.escape(str(region))}(-[a-z0-9-]+)?[a-z]", zone):
            yield f"provider.availability_zone {zone!r}: must be in the region {region!r}, such as '{region}a'"
    for image, node_types in images(config).items():
        if is_placeholder(image):
            yield f"ImageId {image!r} ({', '.join(node_types)}): is a placeholder; name an image of {region}"
    for file_system, where in file_systems(config).items():
        if is_placeholder(file_system):
            yield f"file system {file_system!r}: is a placeholder; name an EFS file system of {region}"
        elif where != region:
            yield f"file system {file_system!r}: its address is in {where!r}, but provider.region is {region!r}"


def zones(config: dict[str, Any]) -> list[str]:
    """The availability zones, of which Ray takes several with commas between them."""
    return [zone.strip() for zone in str(config["provider"].get("availability_zone", "")).split(",") if zone.strip()]


def images(config: dict[str, Any]) -> dict[str, list[str]]:
    """Node types by the image they start from."""
    found: dict[str, list[str]] = {}
    for name, node in config.get("available_node_types", {}).items():
        if image := node.get("node_config", {}).get("ImageId"):
            found.setdefault(str(image), []).append(name)
    return found


def file_systems(config: dict[str, Any]) -> dict[str, str]:
    """EFS file systems that commands mount, with the region in their address."""
    text = "\n".join(str(command) for field in COMMANDS for command in config.get(field) or [])
    return dict(FILE_SYSTEM.findall(text))


def is_placeholder(name: str) -> bool:
    """Whether an identifier of AWS's is one to be filled in: `ami-0123456789abcdef0`, `ami-xxxx`, `fs-00000000`."""
    kind, _, number = name.partition("-")
    counted = number.startswith("0123456789abcdef") or number.startswith("1234567")
    return counted or len(set(number)) <= 1 or not re.fullmatch(r"[0-9a-f]+", number) or not kind
