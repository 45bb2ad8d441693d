"""What an AWS account has of what a configuration names. Asked where there are credentials; nothing is changed."""

from collections.abc import Iterator
from typing import Any

from deploy.placeholders import file_systems, images, is_placeholder, zones

NO_ENTRY = {"AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "RequestExpired",
            "UnrecognizedClientException", "SignatureDoesNotMatch", "OptInRequired"}  # fmt: skip
"""Errors after which every other question would be refused too."""
CREDENTIALS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def findings(config: dict[str, Any]) -> Iterator[str]:
    """Whether AWS can be asked, and what it says."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        yield f"boto3: cannot be imported ({error}), and Ray starts machines with it: pip install boto3"
        return
    region, given = config["provider"].get("region"), config["provider"].get("aws_credentials") or {}
    if not isinstance(given, dict) or not given.keys() <= set(CREDENTIALS):  # the values are secret
        words = ", ".join(map(repr, given)) if isinstance(given, dict) else type(given).__name__
        yield f"provider.aws_credentials {words}: must be a mapping with {', '.join(CREDENTIALS)} only"
        return
    try:
        session = boto3.Session()
        known = {name for partition in session.get_available_partitions() for name in _regions(session, partition)}
        if region not in known:
            yield f"provider.region {region!r}: must be a region that boto3 knows, such as {_near(region, known)}"
            return
        if not given and session.get_credentials() is None:
            yield "AWS credentials: none are found; `aws configure`, or AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY"
            return
        ec2, efs = (client(session, service, region, given) for service in ("ec2", "efs"))
    except BotoCoreError as error:
        yield f"AWS credentials: {_one_line(error)}"
        return
    yield from in_account(config, ec2, efs)


def client(session: Any, service: str, region: str, given: dict[str, str]) -> Any:
    """A client that gives up within seconds: this is a check, not a launch."""
    from botocore.config import Config

    patience = Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2})
    return session.client(service, region_name=region, config=patience, **given)


def in_account(config: dict[str, Any], ec2: Any, efs: Any) -> Iterator[str]:
    """What of the configuration is not there, or not in the zone."""
    from botocore.exceptions import BotoCoreError, ClientError

    for check, asked in ((_zones, ec2), (_images, ec2), (_instance_types, ec2), (_file_systems, efs)):
        try:
            yield from check(config, asked)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            yield f"AWS refuses {error.operation_name}: {_one_line(error)}"
            if code in NO_ENTRY:
                return
        except BotoCoreError as error:  # no connection, most likely
            yield f"AWS cannot be asked: {_one_line(error)}"
            return


def _zones(config: dict[str, Any], ec2: Any) -> Iterator[str]:
    wanted = zones(config)
    if not wanted:
        return
    told = ec2.describe_availability_zones(Filters=[{"Name": "zone-name", "Values": wanted}])["AvailabilityZones"]
    open_zones = {zone["ZoneName"] for zone in told if zone["State"] == "available"}
    for zone in wanted:
        if zone not in open_zones:
            yield f"provider.availability_zone {zone!r}: must be one that is open to this account"


def _images(config: dict[str, Any], ec2: Any) -> Iterator[str]:
    wanted = {image: node_types for image, node_types in images(config).items() if not is_placeholder(image)}
    if not wanted:
        return
    told = ec2.describe_images(Filters=[{"Name": "image-id", "Values": list(wanted)}])["Images"]
    states = {image["ImageId"]: image["State"] for image in told}
    for image, node_types in wanted.items():
        state = states.get(image, "not there, or not for this account")
        if state != "available":
            where = config["provider"]["region"]
            yield f"ImageId {image!r} ({', '.join(node_types)}): is {state} in {where}; images differ by region"


def _instance_types(config: dict[str, Any], ec2: Any) -> Iterator[str]:
    wanted: dict[str, list[str]] = {}
    for name, node in config.get("available_node_types", {}).items():
        if node.get("max_workers") == 0 and name != config.get("head_node_type"):
            continue  # none of it will be started
        wanted.setdefault(str(node.get("node_config", {}).get("InstanceType")), []).append(name)
    if not wanted:
        return
    places = zones(config)
    question: dict[str, Any] = {"LocationType": "availability-zone" if places else "region"}
    question["Filters"] = [
        {"Name": "instance-type", "Values": list(wanted)},
        {"Name": "location", "Values": places or [config["provider"]["region"]]},
    ]
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(**question)
    offered = {offer["InstanceType"] for page in pages for offer in page["InstanceTypeOfferings"]}
    for instance_type, node_types in wanted.items():
        if instance_type not in offered:
            where = ", ".join(question["Filters"][1]["Values"])
            yield f"InstanceType {instance_type!r} ({', '.join(node_types)}): is not offered in {where}"


def _file_systems(config: dict[str, Any], efs: Any) -> Iterator[str]:
    from botocore.exceptions import ClientError

    for file_system in file_systems(config):
        if is_placeholder(file_system):
            continue
        try:
            (told,) = efs.describe_file_systems(FileSystemId=file_system)["FileSystems"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "FileSystemNotFound":
                raise
            yield f"file system {file_system!r}: this account has none of that name in {config['provider']['region']}"
            continue
        if told["LifeCycleState"] != "available":
            yield f"file system {file_system!r}: is {told['LifeCycleState']}, and must be available"
            continue
        targets = efs.describe_mount_targets(FileSystemId=file_system)["MountTargets"]
        reached = {target.get("AvailabilityZoneName") for target in targets}
        for zone in zones(config):
            if zone not in reached:
                yield f"file system {file_system!r}: has no mount target in {zone}, where the machines will be"


def _regions(session: Any, partition: str) -> list[str]:
    names: list[str] = session.get_available_regions("ec2", partition_name=partition)
    return names


def _near(region: object, known: set[str]) -> str:
    """Regions that begin as this one does, or some."""
    begins = sorted(name for name in known if name.partition("-")[0] == str(region).partition("-")[0])
    return ", ".join(begins or ["us-east-1", "us-west-2", "eu-central-1", "and others"])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
