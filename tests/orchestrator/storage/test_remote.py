"""Addresses, and files at them: of a real S3-speaking server, and of a file system that fsspec knows."""

import contextlib
import logging
import signal
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.storage import mirror as mirroring
from orchestrator.storage.address import address_of, home_of, spelt
from orchestrator.storage.copies import pull, push
from orchestrator.storage.mirror import Mirror, mirrored
from orchestrator.storage.remote import Remote
from tests.support.s3_server import S3Server


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("s3://bucket/sweeps", "s3://bucket/sweeps"),
        ("s3://bucket/a/b?region=eu-west-1", "s3://bucket/a/b?region=eu-west-1"),
        ("gs://bucket", "gs://bucket"),
        ("fsspec+memory://x/y", "fsspec+memory://x/y"),
        ("fsspec+file:///mnt/x", "fsspec+file:///mnt/x"),
        ("file:///mnt/x", "file:///mnt/x"),
        ("hdfs://host:8020/x@y", "hdfs://host:8020/x@y"),
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


SECRETS = [
    "s3://KEY:SECRET@bucket/x", "s3://KEY:SEC/RET@bucket/x", "s3://SECRET@bucket", "gs://bucket/x?token=SECRET",
    "abfs://SECRET@account.dfs.core.windows.net/x", "fsspec+ftp://KEY:SECRET@host/x", "s3://bucket/in-the-ENVIRONMENT",
]  # fmt: skip


@pytest.mark.parametrize("typed", SECRETS)
def test_an_address_with_a_secret_is_refused_and_not_repeated(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", "the-ENVIRONMENT")
    for use in (address_of, spelt, home_of):
        with pytest.raises(UserError, match=r"has a user or a secret in it.*leave it to the environment") as raised:
            use(Path(typed))
        assert "SEC" not in str(raised.value) and "ENVIRONMENT" not in str(raised.value)


@pytest.mark.parametrize("typed", ["hdfs:///path", "hdfs://path/below", "fsspec+hdfs:///path/1:2/x"])
def test_the_first_part_of_a_path_is_not_taken_for_a_host(typed: str) -> None:
    with pytest.raises(UserError, match=r"names no host with its port; .*hdfs://HOST:PORT/PATH does"):
        address_of(Path(typed))


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
    for key in (f"{root}/../evil", f"{root}/a/../../evil", f"{root}/{tmp_path}/evil", f"{root}/a//evil"):
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


@pytest.mark.parametrize("after", [0.02, 0.2])
def test_an_upload_that_is_interrupted_leaves_all_or_nothing(after: float, remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (48 << 20))
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        with contextlib.suppress(KeyboardInterrupt):
            remote.put(tmp_path / "large", "large")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert remote.sizes() in ({}, {"large": 48 << 20})


def test_an_upload_that_fails_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote.at(f"file://{tmp_path}/there")
    (tmp_path / "file").write_bytes(b"x")

    def fail(self: Remote, file: Path, path: str) -> None:
        Path(path).write_bytes(b"")
        raise KeyboardInterrupt

    monkeypatch.setattr(Remote, "_write", fail)
    with pytest.raises(KeyboardInterrupt):
        remote.put(tmp_path / "file", "file")
    assert remote.sizes() == {}


@pytest.mark.parametrize("closing", [OSError("is away"), KeyboardInterrupt()], ids=repr)
def test_what_ended_a_sweep_is_not_hidden_by_what_keeps_its_files_here(
    closing: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(what: str, work: object) -> None:
        raise closing

    monkeypatch.setattr(mirroring, "insist", fail)
    storage = Path(f"file://{tmp_path}/there")
    with caplog.at_level(logging.WARNING), pytest.raises(RuntimeError, match="the first"), mirrored(tmp_path, storage):
        raise RuntimeError("the first")
    assert len(caplog.messages) == 1 and "are on this machine alone" in caplog.text
    with pytest.raises(type(closing)), mirrored(tmp_path, storage):
        pass
