"""A sweep whose storage is an address, wanted on a machine that has a copy of it: which of the two goes on."""

import errno
import fcntl
from pathlib import Path

import pytest

from orchestrator.driver.claims import directory_of, locked, saved_config
from orchestrator.errors import UserError
from orchestrator.storage.address import home_of
from orchestrator.storage.identity import IDENTITY_FILE, identity_of
from tests.support.configs import small

OLD, NEW = '{"op": "journal"}\n', '{"op": "journal"}\n{"op": "metrics"}\n'
FILES = {
    "sweep.json": "{}",
    "tracking/journal.jsonl": OLD,
    "tracking/state.json": "of there",
    "counters.json": "of there",
}


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An address on this machine's own disk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(f"file://{tmp_path}/there")


def fill(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
    return directory


def contents(directory: Path) -> dict[str, str]:
    files = (file for file in directory.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(directory)): file.read_text(encoding="utf-8") for file in files}


def test_what_a_running_sweep_writes_is_not_replaced(storage: Path, tmp_path: Path) -> None:
    fill(tmp_path / "there" / "a", FILES)
    here = FILES | {"tracking/journal.jsonl": "another\n", "tracking/state.json": "of here"}
    with locked(fill(home_of(storage) / "a", here)):
        assert saved_config(storage, "a") == b"{}"
        assert contents(home_of(storage) / "a") == here


def test_a_sweep_that_another_process_copies_just_now_is_not_said_to_be_missing(storage: Path, tmp_path: Path) -> None:
    fill(tmp_path / "there" / "a", FILES)
    here = fill(home_of(storage) / "a", {"counters.json": ""})
    with locked(here), pytest.raises(UserError, match=r"^name 'a': this sweep is running already$"):
        saved_config(storage, "a")


def test_a_journal_that_goes_on_where_the_copy_ends_stays_with_its_state(storage: Path, tmp_path: Path) -> None:
    result = {"trials/t/result.json": "{}", "trials/t/step-1/manifest.json": "{}"}
    fill(tmp_path / "there" / "a", FILES | result)
    here = {"tracking/journal.jsonl": NEW, "tracking/state.json": "of here", "counters.json": "of here"}
    fill(home_of(storage) / "a", here)
    saved_config(storage, "a")
    assert contents(home_of(storage) / "a") == FILES | here | {"trials/t/result.json": "{}"}


@pytest.mark.parametrize("before", [OLD, "another\n" * 9], ids=["older", "of another machine's session"])
def test_a_journal_that_the_copy_does_not_begin_is_replaced_with_its_state(
    before: str, storage: Path, tmp_path: Path
) -> None:
    there = FILES | {"tracking/journal.jsonl": NEW}
    fill(tmp_path / "there" / "a", there)
    fill(home_of(storage) / "a", FILES | {"tracking/journal.jsonl": before, "tracking/state.json": "of here"})
    saved_config(storage, "a")
    assert contents(home_of(storage) / "a") == there


def test_nothing_is_made_here_for_a_name_that_is_not_there(storage: Path) -> None:
    with pytest.raises(UserError, match=r"^resume 'nothing': not in file:///"):
        saved_config(storage, "nothing")
    assert not (home_of(storage) / "nothing").exists()


def test_of_another_sweep_that_had_the_name_nothing_is_left(
    storage: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with directory_of(small(storage=storage, name="a"), None) as directory:
        fill(directory, {"trials/t/result.json": "{}", "tracking/journal.jsonl": NEW})
    identity = identity_of(directory)
    assert len(identity) == 16 and (tmp_path / "there" / "a" / IDENTITY_FILE).read_text(encoding="utf-8") == identity
    saved_config(storage, "a")
    assert (directory / "trials" / "t" / "result.json").is_file() and not caplog.messages
    again = fill(tmp_path / "there" / "a", {IDENTITY_FILE: "0" * 16})
    saved_config(storage, "a")
    assert contents(directory) == contents(again)
    assert [message.partition(" is of another sweep of this name")[0] for message in caplog.messages] == [
        str(directory)
    ]


def test_a_lock_that_cannot_be_had_is_no_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(UserError, match=r"^name '.*': cannot be locked in .* \(No locks available\)$"),
        locked(tmp_path),
    ):
        pass
