"""An AWS account in botocore's own Stubber: the calls that Ray may make, in order, with what they say and are answered.

The Stubber holds each call against AWS's published model of it, so that a field of cluster.yaml which EC2 does not know
is refused as EC2 would refuse it, and it answers no call that is not listed. Nothing here opens a connection.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn
from unittest.mock import patch

from botocore.httpsession import URLLib3Session
from botocore.stub import ANY, Stubber
from ray.autoscaler._private.aws import config as ray_aws
from ray.autoscaler._private.aws.utils import client_cache, resource_cache
from ray.autoscaler._private.constants import BOTO_MAX_RETRIES
from ray.autoscaler._private.providers import _clear_provider_cache

VPC = "vpc-0aaaaaaaaaaaaaaaa"
GROUP = "sg-0bbbbbbbbbbbbbbbb"
SUBNET = "subnet-0cccccccccccccccc"
PROFILE = "ray-autoscaler-v1"
PROFILE_ARN = f"arn:aws:iam::123456789012:instance-profile/{PROFILE}"
KEY_MATERIAL = "the private half of a key pair"
TIME = "2026-01-01T00:00:00Z"
SSH_FROM_ANYWHERE = {"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
WITHIN_THE_GROUP = {"FromPort": -1, "ToPort": -1, "IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": GROUP}]}


@dataclass
class Account:
    """Ray's clients, stubbed: one prepares the account, one looks after instances, one starts them without retries."""

    region: str
    iam: Stubber
    setup: Stubber
    instances: Stubber
    launches: Stubber
    started: list[dict[str, Any]] = field(default_factory=list)
    """Instances as DescribeInstances tells of them."""

    def stubbers(self) -> tuple[Stubber, ...]:
        return self.iam, self.setup, self.instances, self.launches

    def all_calls_were_made(self) -> None:
        for stubber in self.stubbers():
            stubber.assert_no_pending_responses()

    # --- what `ray up` looks for before it starts anything ---

    def tells_instance_types(self, types: Mapping[str, int]) -> None:
        """DescribeInstanceTypes: those that exist in the region, with their number of GPUs."""
        told = [
            {"InstanceType": name, "VCpuInfo": {"DefaultVCpus": 16}, "MemoryInfo": {"SizeInMiB": 131072}}
            | ({"GpuInfo": {"Gpus": [{"Name": "L40S", "Manufacturer": "NVIDIA", "Count": gpus}]}} if gpus else {})
            for name, gpus in types.items()
        ]
        self.instances.add_response("describe_instance_types", {"InstanceTypes": told}, {})

    def has_no_role(self) -> None:
        """Neither instance profile nor role: both are made, and the role may do what the autoscaler does."""
        profile, role = {"InstanceProfileName": PROFILE}, {"RoleName": PROFILE}
        self.iam.add_client_error("get_instance_profile", "NoSuchEntity", expected_params=profile)
        self.iam.add_response("create_instance_profile", _profile(()), profile)
        self.iam.add_response("get_instance_profile", _profile(()), profile)
        self.iam.add_client_error("get_role", "NoSuchEntity", expected_params=role)
        self.iam.add_response("create_role", {"Role": _role()}, role | {"AssumeRolePolicyDocument": ANY})
        self.iam.add_response("get_role", {"Role": _role()}, role)
        for policy in ("AmazonEC2FullAccess", "AmazonS3FullAccess"):
            attached = role | {"PolicyArn": f"arn:aws:iam::aws:policy/{policy}"}
            self.iam.add_response("attach_role_policy", {}, attached)
        self.iam.add_response("add_role_to_instance_profile", {}, profile | role)
        self.iam.add_response("get_instance_profile", _profile((_role(),)), profile)

    def has_role(self) -> None:
        self.iam.add_response("get_instance_profile", _profile((_role(),)), {"InstanceProfileName": PROFILE})

    def has_no_key_pair(self) -> None:
        key = {"KeyName": self.key_name}
        asked = {"Filters": [{"Name": "key-name", "Values": [self.key_name]}]}
        self.setup.add_response("describe_key_pairs", {"KeyPairs": []}, asked)
        self.setup.add_response("create_key_pair", key | {"KeyMaterial": KEY_MATERIAL}, key)

    def has_key_pair(self) -> None:
        asked = {"Filters": [{"Name": "key-name", "Values": [self.key_name]}]}
        self.setup.add_response("describe_key_pairs", {"KeyPairs": [{"KeyName": self.key_name}]}, asked)

    @property
    def key_name(self) -> str:
        return f"ray-autoscaler_{self.region}"

    def has_subnets(self, zones: Sequence[str]) -> None:
        """The default VPC: one public subnet in each zone, the first being SUBNET."""
        names = [SUBNET, *(f"subnet-{number:017x}" for number in range(1, len(zones)))]
        told = [
            {
                "SubnetId": name,
                "VpcId": VPC,
                "AvailabilityZone": zone,
                "State": "available",
                "MapPublicIpOnLaunch": True,
            }
            for name, zone in zip(names, zones, strict=True)
        ]
        self.setup.add_response("describe_subnets", {"Subnets": told}, {})
        asked = {"Filters": [{"Name": "subnet-id", "Values": [SUBNET]}]}
        self.setup.add_response("describe_subnets", {"Subnets": told[:1]}, asked)

    def has_no_security_group(self, cluster: str) -> None:
        """It is made, and admits its own members and ssh: nothing else, or the call would not be this one."""
        in_vpc = {"Filters": [{"Name": "vpc-id", "Values": [VPC]}]}
        tags = [{"Key": "ray-autoscaler", "Value": "true"}, {"Key": "ray-cluster-name", "Value": cluster}]
        made = {"GroupName": f"ray-autoscaler-{cluster}", "VpcId": VPC, "Description": ANY}
        made["TagSpecifications"] = [{"ResourceType": "security-group", "Tags": tags}]
        rules = [WITHIN_THE_GROUP, SSH_FROM_ANYWHERE]
        self.setup.add_response("describe_security_groups", {"SecurityGroups": []}, in_vpc)
        self.setup.add_response("create_security_group", {"GroupId": GROUP}, made)
        self.setup.add_response("describe_security_groups", {"SecurityGroups": [_group(cluster, [])]}, in_vpc)
        self.setup.add_response("authorize_security_group_ingress", {}, {"GroupId": GROUP, "IpPermissions": rules})
        self.setup.add_response(
            "describe_security_groups", {"SecurityGroups": [_group(cluster, rules)]}, {"GroupIds": [GROUP]}
        )

    def has_security_group(self, cluster: str) -> None:
        group = _group(cluster, [WITHIN_THE_GROUP, SSH_FROM_ANYWHERE])
        in_vpc = {"Filters": [{"Name": "vpc-id", "Values": [VPC]}]}
        self.setup.add_response("describe_security_groups", {"SecurityGroups": [group]}, in_vpc)

    # --- instances ---

    def starts(self, node_config: Mapping[str, Any], tags: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        """RunInstances: with exactly these fields and tags, in the subnet that was chosen."""
        first = len(self.started) + 1
        made = [_instance(number, node_config, tags) for number in range(first, first + count)]
        self.launches.add_response("run_instances", {"Instances": made}, _run(node_config, tags, count))
        self.started += made
        return made

    def has_none_to_start(self, node_config: Mapping[str, Any], tags: Mapping[str, Any], count: int) -> None:
        """RunInstances without capacity for it."""
        self.launches.add_client_error(
            "run_instances",
            "InsufficientInstanceCapacity",
            "We currently do not have sufficient capacity in the Availability Zone you requested.",
            expected_params=_run(node_config, tags, count),
        )

    def tells_instances(self, cluster: str, found: Sequence[dict[str, Any]], **tags: Any) -> None:
        """DescribeInstances, of this cluster and with these tags, given without their `ray-` and with underscores."""
        filters = [
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
            {"Name": "tag:ray-cluster-name", "Values": [cluster]},
            *({"Name": f"tag:{_tag(name)}", "Values": [value]} for name, value in tags.items()),
        ]
        running = [instance | {"State": {"Code": 16, "Name": "running"}} for instance in found]
        told = {"Reservations": [{"Instances": running}]}
        self.instances.add_response("describe_instances", told, {"Filters": filters})

    def takes_tag(self, instance: Mapping[str, Any], name: str, value: Any) -> None:
        tag = {"Key": name, "Value": value}
        self.instances.add_response("create_tags", {}, {"Resources": [instance["InstanceId"]], "Tags": [tag]})

    def ends(self, instances: Sequence[Mapping[str, Any]]) -> None:
        ids = [instance["InstanceId"] for instance in instances]
        self.instances.add_response("terminate_instances", {}, {"InstanceIds": ids})


@contextmanager
def stubbed_account(region: str) -> Iterator[Account]:
    """Ray's clients for a region, made anew and answering what they are told to; at the end nothing may be left."""
    _forget_clients()
    resources = (
        resource_cache("iam", region),
        resource_cache("ec2", region),
        resource_cache("ec2", region, BOTO_MAX_RETRIES),
        resource_cache("ec2", region, 0),
    )
    with ExitStack() as stack:
        stack.callback(_forget_clients)
        stack.enter_context(no_cloud())
        account = Account(region, *(stack.enter_context(Stubber(resource.meta.client)) for resource in resources))
        yield account
        account.all_calls_were_made()


@contextmanager
def no_cloud() -> Iterator[None]:
    """A client that is not stubbed fails at once, rather than after its retries."""

    def refuse(session: URLLib3Session, request: Any) -> NoReturn:
        raise AssertionError(f"a test called {request.url}")

    with patch.object(URLLib3Session, "send", refuse):
        yield


def _forget_clients() -> None:
    for cache in (resource_cache, client_cache, ray_aws._get_subnets_or_die):
        cache.cache_clear()
    _clear_provider_cache()


def _tag(name: str) -> str:
    return "Name" if name == "Name" else "ray-" + name.replace("_", "-")


def _tag_list(tags: Mapping[str, Any]) -> list[dict[str, Any]]:
    """In the order in which Ray sends them: the cluster's first, AWS's own last."""
    ordered = sorted(tags, key=lambda name: (name == "Name", name != "ray-cluster-name", name))
    return [{"Key": name, "Value": tags[name]} for name in ordered]


def _run(node_config: Mapping[str, Any], tags: Mapping[str, Any], count: int) -> dict[str, Any]:
    said = dict(node_config) | {"SubnetId": SUBNET, "MinCount": 1, "MaxCount": count}
    said.pop("SubnetIds")
    return said | {"TagSpecifications": [{"ResourceType": "instance", "Tags": _tag_list(tags)}]}


def _instance(number: int, node_config: Mapping[str, Any], tags: Mapping[str, Any]) -> dict[str, Any]:
    spot = node_config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    named = {name: "0" * 40 if value is ANY else value for name, value in tags.items()}
    return {
        "InstanceId": f"i-{number:017x}",
        "InstanceType": node_config["InstanceType"],
        "PrivateIpAddress": f"172.31.0.{number}",
        "PublicIpAddress": f"203.0.113.{number}",
        "State": {"Code": 0, "Name": "pending"},
        "Tags": _tag_list(named),
    } | ({"InstanceLifecycle": "spot", "SpotInstanceRequestId": f"sir-{number:08x}"} if spot else {})


def _role() -> dict[str, Any]:
    return {
        "Path": "/",
        "RoleName": PROFILE,
        "RoleId": "AROA0123456789ABCDEF",
        "Arn": f"arn:aws:iam::123456789012:role/{PROFILE}",
        "CreateDate": TIME,
    }


def _profile(roles: Sequence[dict[str, Any]]) -> dict[str, Any]:
    profile = {
        "Path": "/",
        "InstanceProfileName": PROFILE,
        "InstanceProfileId": "AIPA0123456789ABCDEF",
        "Arn": PROFILE_ARN,
        "CreateDate": TIME,
        "Roles": list(roles),
    }
    return {"InstanceProfile": profile}


def _group(cluster: str, rules: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "GroupId": GROUP,
        "GroupName": f"ray-autoscaler-{cluster}",
        "VpcId": VPC,
        "IpPermissions": list(rules),
    }
