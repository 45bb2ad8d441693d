"""Addresses, and files at them: of a real S3-speaking server, and of a file system that fsspec knows."""

from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.storage.address import address_of, home_of, spelt
from orchestrator.storage.copies import pull, push
from orchestrator.storage.mirror import Mirror
from orchestrator.storage.remote import Remote
from tests.support.s3_server import S3Server


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("s3://bucket/sweeps", "s3://bucket/sweeps"),
        ("s3://bucket/a/b?region=eu-west-1", "s3://bucket/a/b?region=eu-west-1"),
        ("gs://bucket", "gs://bucket"),
        ("fsspec+memory://x/y", "fsspec+memory://x/y"),
        ("runs", None),
        ("/mnt/pursuit", None),
        ("a:b/c", None),
        ("C:/runs", None),
        ("runs/s3:/x", None),
    ],
)
def test_addresses_are_told_from_directories(typed: str, address: str | None) -> None:
    assert address_of(Path(typed)) == address
    assert spelt(Path(typed)) == typed
    assert (home_of(Path(typed)) == Path(typed)) == (address is None)


def test_different_addresses_have_different_homes() -> None:
    assert home_of(Path("s3://bucket/a_b")) != home_of(Path("s3://bucket/a/b"))


@pytest.mark.parametrize("address", ["nothing://x/y", "fsspec+nothing://x"])
def test_what_cannot_be_used_is_said_in_one_line(address: str) -> None:
    with pytest.raises(UserError, match=f"^storage '{address.replace('+', '.')}': is no address that can be used"):
        Remote.at(address)


def fill(directory: Path) -> dict[str, bytes]:
    files = {"a": b"", "b/c": b"x" * (20 << 20), "b/d e/ü": b"1", "z": b"last"}
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return files


def contents(directory: Path) -> dict[str, bytes]:
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def check_round_trip(remote: Remote, tmp_path: Path) -> None:
    files = fill(tmp_path / "here")
    push(tmp_path / "here", remote.below("there"))
    assert remote.below("there").sizes() == {name: len(content) for name, content in files.items()}
    assert remote.has("there/b/c") and not remote.has("there/b/nothing") and not remote.has("there/b")
    pull(remote.below("there"), tmp_path / "again")
    assert contents(tmp_path / "again") == files
    remote.below("there").remove()
    remote.below("there").remove()
    assert remote.below("there").sizes() == {}


def test_there_and_back_with_s3(remote: Remote, tmp_path: Path) -> None:
    check_round_trip(remote, tmp_path)


def test_there_and_back_with_fsspec(tmp_path: Path) -> None:
    check_round_trip(Remote.at("fsspec+memory://somewhere/below"), tmp_path)


def test_a_name_that_leads_elsewhere_is_not_taken(remote: Remote, s3_server: S3Server, tmp_path: Path) -> None:
    remote.put(Path(__file__), "good")
    root = remote._root.partition("/")[2]
    for key in (f"{root}/../evil", f"{root}/a/../../evil"):
        s3_server.client().put_object(Bucket="sweeps", Key=key, Body=b"x")
    pull(remote, tmp_path / "in" / "here")
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["good"]


def test_the_last_file_says_that_all_are_there(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    order: list[str] = []
    monkeypatch.setattr(Remote, "put", lambda self, file, name: order.append(name))
    push(tmp_path, remote, last="a")
    assert order[-1] == "a" and len(order) == 4


def test_a_mirror_copies_what_changed_and_nothing_hidden(remote: Remote, tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / ".lock").touch()
    (tmp_path / "trials" / "one").mkdir(parents=True)
    (tmp_path / "trials" / "one" / "result.json").write_text("{}", encoding="utf-8")
    mirror = Mirror(tmp_path, remote, ("trials",))
    mirror.close()
    assert remote.sizes().keys() == {"a", "b/c", "b/d e/ü", "z"}
    (tmp_path / "z").write_bytes(b"longer than before")
    (tmp_path / "a").unlink()
    mirror.close()
    assert remote.sizes()["z"] == 18
