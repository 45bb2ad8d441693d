"""python -m deploy.check: each thing to be mended is named on one line, and what is right is not complained of."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.stub import Stubber

from deploy import account, check, placeholders
from tests.support.aws import no_cloud

ROOT = Path(__file__).resolve().parents[2]
CLUSTER: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
REGION: str = CLUSTER["provider"]["region"]
(ZONE,) = placeholders.zones(CLUSTER)
IMAGE, FILE_SYSTEM = "ami-0a1b2c3d4e5f60718", "fs-0a1b2c3d4e5f60718"
TYPES = sorted(
    {
        node["node_config"]["InstanceType"]
        for node in CLUSTER["available_node_types"].values()
        if node.get("max_workers") != 0
    }
)
"""Of machines that may be started: a larger one, of which there are to be none, is nobody's loss."""
LOCAL: dict[str, Any] = {
    "cluster_name": "ours",
    "provider": {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2", "10.0.0.3"]},
    "auth": {"ssh_user": "ubuntu", "ssh_private_key": "~/.ssh/ours"},
}


@pytest.fixture(autouse=True)
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody with a token and a key, who stands in the repository; no AWS credentials."""
    for name in (".ray/auth_token", ".ssh/ours"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("secret", encoding="utf-8")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def filled_in() -> dict[str, Any]:
    """cluster.yaml as a person leaves it who has read its first lines."""
    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    for image in placeholders.images(CLUSTER):
        text = text.replace(image, IMAGE)
    for file_system in placeholders.file_systems(CLUSTER):
        text = text.replace(file_system, FILE_SYSTEM)
    config: dict[str, Any] = yaml.safe_load(text)
    return config


@pytest.fixture
def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[object], list[str]]:
    """Writes a configuration, checks it as a person does, and gives the lines that were printed."""

    def run(config: object) -> list[str]:
        path = tmp_path / "ours.yaml"
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config), encoding="utf-8")
        status = check.main([str(path)])
        said, wrong = capsys.readouterr()
        lines: list[str] = said.splitlines()
        assert wrong == ""
        assert status == (0 if lines == [f"{path}: {check.NOTHING}"] else 2)
        return lines

    return run


# --- the file, and what Ray says of it ---


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["nowhere.yaml"]) == 2
    assert capsys.readouterr().out == "nowhere.yaml: cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ("a: [", "is not YAML"),
        ("- a list", "Ray refuses it: a mapping is wanted"),
        ("cluster_name: x", "Ray refuses it: provider: None"),
        (CLUSTER | {"max_worker": 3}, "'max_worker' was unexpected"),
        (CLUSTER | {"max_workers": "three"}, "max_workers: 'three' is not of type 'integer'"),
        (CLUSTER | {"head_node_type": "nobody"}, "`head_node_type` must be one of `available_node_types`"),
        (LOCAL | {"provider": {"type": "local", "head_ip": "10.0.0.1"}}, "Please supply a `head_ip`"),
    ],
)
def test_what_ray_refuses(checked: Callable[[object], list[str]], config: object, part: str) -> None:
    (line,) = checked(config)
    assert part in line


def test_a_cloud_that_is_not_looked_into_is_said_to_be_so(checked: Callable[[object], list[str]]) -> None:
    (line,) = checked(filled_in() | {"provider": {"type": "gcp", "region": "x", "availability_zone": "x-a"}})
    assert line.startswith("provider.type 'gcp': ")


# --- files of this machine ---


def test_the_file_as_it_comes_has_placeholders(checked: Callable[[object], list[str]]) -> None:
    lines = checked(CLUSTER)
    for value in [*placeholders.images(CLUSTER), *placeholders.file_systems(CLUSTER)]:
        (line,) = (each for each in lines if repr(value) in each)
        assert "is a placeholder" in line
    assert lines[-1].startswith("AWS credentials: none are found")
    assert len(lines) == 3


def test_mounts_that_are_not_there(checked: Callable[[object], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    lines = [line for line in checked(filled_in()) if line.startswith("file_mounts")]
    assert len(lines) == len(CLUSTER["file_mounts"]) - 1, "the token is in the home directory"
    assert all(line.endswith("does not exist; run this where `ray up` will run") for line in lines)


@pytest.mark.parametrize(
    ("mode", "text", "says"),
    [
        (None, "", "does not exist; `ray get-auth-token --generate`"),
        (0o600, " \n", "is empty"),
        (0o644, "x", "mode 644"),
    ],
)
def test_the_token(
    checked: Callable[[object], list[str]], tmp_path: Path, mode: int | None, text: str, says: str
) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.write_text(text, encoding="utf-8")
    token.chmod(mode or 0o600)
    if mode is None:
        token.unlink()
    (line,) = (each for each in checked(filled_in()) if "auth_token" in each)
    assert says in line


def test_a_key_of_ones_own(checked: Callable[[object], list[str]], tmp_path: Path) -> None:
    config = filled_in()
    config["auth"]["ssh_private_key"] = "~/.ssh/ours"
    (tmp_path / ".ssh" / "ours").chmod(0o640)
    lines = checked(config)
    assert "auth.ssh_private_key '~/.ssh/ours': has mode 640" in lines[0]
    assert sum("must have a KeyName" in line for line in lines) == len(config["available_node_types"])
    config["auth"]["ssh_private_key"] = "~/.ssh/nobodys"
    assert checked(config)[0] == "auth.ssh_private_key '~/.ssh/nobodys': there is no such file"


# --- AWS, without asking it ---


@pytest.mark.parametrize("name", ["ami-0123456789abcdef0", "ami-xxxxxxxx", "fs-00000000", "ami-", "FILL-ME-IN"])
def test_placeholders_are_known(name: str) -> None:
    assert placeholders.is_placeholder(name)
    assert not placeholders.is_placeholder(IMAGE)
    assert not placeholders.is_placeholder(FILE_SYSTEM)


def test_values_that_contradict_each_other(checked: Callable[[object], list[str]]) -> None:
    config = filled_in()
    config["provider"] |= {"region": "eu-west-1"}
    zone, file_system, _ = checked(config)
    assert zone == f"provider.availability_zone {ZONE!r}: must be in the region 'eu-west-1', such as 'eu-west-1a'"
    assert (
        file_system == f"file system {FILE_SYSTEM!r}: its address is in {REGION!r}, but provider.region is 'eu-west-1'"
    )


def test_a_region_that_nobody_knows(checked: Callable[[object], list[str]]) -> None:
    config = filled_in()
    config["provider"] |= {"region": "us-west-9"}
    (line,) = (each for each in checked(config) if each.startswith("provider.region"))
    assert "such as us-east-1, us-east-2, us-" in line


def test_without_boto3(checked: Callable[[object], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    (line,) = checked(filled_in())
    assert line.startswith("boto3: cannot be imported")
    assert line.endswith("pip install boto3")


def test_a_profile_that_is_not_there(checked: Callable[[object], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert checked(filled_in()) == ["AWS credentials: The config profile (nobody) could not be found"]


@pytest.mark.parametrize("given", [{"password": "hunter2"}, "hunter2"])
def test_credentials_in_other_words_are_refused_and_not_shown(
    checked: Callable[[object], list[str]], given: object
) -> None:
    config = filled_in()
    config["provider"] |= {"aws_credentials": given}
    (line,) = checked(config)
    assert line.startswith("provider.aws_credentials ")
    assert line.endswith("must be a mapping with aws_access_key_id, aws_secret_access_key, aws_session_token only")
    assert "hunter2" not in line


# --- AWS, asked ---


class Asked:
    """The two clients that are asked, stubbed: what is there unless a test says otherwise."""

    def __init__(self, ec2: Stubber, efs: Stubber) -> None:
        self.ec2, self.efs = ec2, efs

    def zones(self, state: str = "available") -> None:
        asked = {"Filters": [{"Name": "zone-name", "Values": [ZONE]}]}
        told = {"AvailabilityZones": [{"ZoneName": ZONE, "State": state}]}
        self.ec2.add_response("describe_availability_zones", told, asked)

    def images(self, *states: str) -> None:
        asked = {"Filters": [{"Name": "image-id", "Values": [IMAGE]}]}
        told = [{"ImageId": IMAGE, "State": state} for state in states]
        self.ec2.add_response("describe_images", {"Images": told}, asked)

    def offers(self, *instance_types: str) -> None:
        told = [
            {"InstanceType": each, "LocationType": "availability-zone", "Location": ZONE} for each in instance_types
        ]
        self.ec2.add_response("describe_instance_type_offerings", {"InstanceTypeOfferings": told})

    def file_system(self, state: str, *zones: str) -> None:
        asked = {"FileSystemId": FILE_SYSTEM}
        told = asked | {
            "OwnerId": "123456789012", "CreationToken": "t", "CreationTime": 0, "LifeCycleState": state,
            "NumberOfMountTargets": len(zones), "SizeInBytes": {"Value": 0}, "PerformanceMode": "generalPurpose",
            "Tags": [],
        }  # fmt: skip
        self.efs.add_response("describe_file_systems", {"FileSystems": [told]}, asked)
        if state == "available":
            targets = [
                asked
                | {
                    "MountTargetId": "fsmt-0a1b2c3d",
                    "SubnetId": "subnet-0a1b2c3d",
                    "LifeCycleState": state,
                    "AvailabilityZoneName": zone,
                }
                for zone in zones
            ]
            self.efs.add_response("describe_mount_targets", {"MountTargets": targets}, asked)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Somebody with credentials; at the end every answer was asked for."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    session = boto3.Session()
    clients = {service: account.client(session, service, REGION, {}) for service in ("ec2", "efs")}
    monkeypatch.setattr(account, "client", lambda session, service, region, given: clients[service])
    with ExitStack() as stack:
        stack.enter_context(no_cloud())
        stubs = Asked(*(stack.enter_context(Stubber(client)) for client in clients.values()))
        yield stubs
        stubs.ec2.assert_no_pending_responses()
        stubs.efs.assert_no_pending_responses()


def test_nothing_to_mend(checked: Callable[[object], list[str]], asked: Asked) -> None:
    asked.zones()
    asked.images("available")
    asked.offers(*TYPES)
    asked.file_system("available", ZONE)
    (line,) = checked(filled_in())
    assert line.endswith(check.NOTHING)


def test_what_the_account_does_not_have(checked: Callable[[object], list[str]], asked: Asked) -> None:
    asked.zones("impaired")
    asked.images()
    asked.offers(TYPES[0])
    asked.file_system("available", f"{REGION}f")
    lines = checked(filled_in())
    assert lines[0] == f"provider.availability_zone {ZONE!r}: must be one that is open to this account"
    names = ", ".join(sorted(CLUSTER["available_node_types"]))  # as safe_dump writes them
    absent = f"is not there, or not for this account in {REGION}; images differ by region"
    assert lines[1] == f"ImageId {IMAGE!r} ({names}): {absent}"
    assert {line.partition(" (")[0] for line in lines[2:-1]} == {f"InstanceType {each!r}" for each in TYPES[1:]}
    assert all(line.endswith(f"is not offered in {ZONE}") for line in lines[2:-1])
    assert lines[-1] == f"file system {FILE_SYSTEM!r}: has no mount target in {ZONE}, where the machines will be"


@pytest.mark.parametrize("state", ["creating", None])
def test_a_file_system_that_is_not_to_be_had(
    checked: Callable[[object], list[str]], asked: Asked, state: str | None
) -> None:
    asked.zones()
    asked.images("available")
    asked.offers(*TYPES)
    if state:
        asked.file_system(state)
    else:
        asked.efs.add_client_error("describe_file_systems", "FileSystemNotFound")
    (line,) = checked(filled_in())
    assert line.startswith(f"file system {FILE_SYSTEM!r}: ")
    assert line.endswith("is creating, and must be available" if state else f"none of that name in {REGION}")


def test_a_question_that_is_refused_is_named_and_the_others_are_asked(
    checked: Callable[[object], list[str]], asked: Asked
) -> None:
    asked.ec2.add_client_error("describe_availability_zones", "UnauthorizedOperation", "You may not.")
    asked.images("available")
    asked.offers(*TYPES)
    asked.file_system("available", ZONE)
    (line,) = checked(filled_in())
    assert line.startswith("AWS refuses DescribeAvailabilityZones: ")
    assert line.endswith("You may not.")


def test_credentials_that_have_run_out_are_named_once(checked: Callable[[object], list[str]], asked: Asked) -> None:
    asked.ec2.add_client_error("describe_availability_zones", "ExpiredToken", "The token has expired.")
    (line,) = checked(filled_in())
    assert line.endswith("The token has expired.")
