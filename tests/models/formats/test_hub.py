"""Coders to and from a hub through its own client, and the cards they carry. The hub is tests/hub_server.py's."""

import dataclasses
import importlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants

from models import SparseCoder
from models.formats.hub import push_folder
from models.formats.model_card import LOAD_HERE, index_card, model_card
from tests.support.cards import RUN, blocks, make_coder, rows
from tests.support.hub_server import Hub, running_hub
from tests.support.waiting import LIMIT_SECONDS

REPO = "someone/coders"


def closed_endpoint() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def point_to(endpoint: str, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT and HF_HOME would do, were they not read at import."""
    patch.setattr(constants, "ENDPOINT", endpoint)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server here has Git LFS only


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as running:
        point_to(running.url, tmp_path / "cache", monkeypatch)
        yield running


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    endpoint = closed_endpoint()
    point_to(endpoint, tmp_path / "cache", monkeypatch)
    return endpoint


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A coder's folder as a trial leaves it."""
    make_coder().save_to_disk(tmp_path / "coder")
    (tmp_path / "coder" / "README.md").write_text(model_card(make_coder(), RUN), encoding="utf-8")
    return tmp_path / "coder"


# --- to the hub and back ---


def test_a_folder_goes_into_that_of_its_hookpoint_and_comes_back(hub, saved):
    url = push_folder(saved, REPO, "layers.10")
    files = hub.files[REPO]
    place = {f"layers.10/{name}" for name in ("cfg.json", "sae.safetensors", "README.md")}
    assert files.keys() == place | {".gitattributes", "README.md"}
    assert files["layers.10/sae.safetensors"] == (saved / "sae.safetensors").read_bytes()
    assert url == f"{hub.url}/{REPO}/commit/{hub.sha(REPO)}"
    assert hub.commits == ["Add the coder of layers.10"]
    coder = SparseCoder.load_from_hub(REPO, "layers.10")
    x = torch.randn(5, 10)
    assert torch.equal(coder(x).sae_out, make_coder()(x).sae_out)

    card = files["layers.10/README.md"].decode()
    assert LOAD_HERE not in card
    assert rows(card) == rows((saved / "README.md").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    exec(blocks(card)[0], names)
    torch.testing.assert_close(names["y"], make_coder()(names["x"]).sae_out)


def test_the_repository_gets_a_page_of_its_own_only_where_it_has_none(hub, saved):
    push_folder(saved, REPO, "layers.10")
    page = hub.files[REPO]["README.md"].decode()
    assert ModelCard(page).data.to_dict() == ModelCard((saved / "README.md").read_text(encoding="utf-8")).data.to_dict()
    names = {"FOLDER": "layers.10"}
    exec(blocks(page)[0], names)
    assert names["coder"].cfg == make_coder().cfg
    hub.files[REPO]["README.md"] = b"mine"
    push_folder(saved, REPO, "layers.11")
    assert hub.files[REPO]["README.md"] == b"mine"
    assert "---\n---\n" in index_card("no front matter", REPO)


def test_without_a_hookpoint_it_goes_to_the_top(hub, saved):
    push_folder(saved, REPO)
    assert hub.files[REPO].keys() == {".gitattributes", "cfg.json", "sae.safetensors", "README.md"}
    assert f'SparseCoder.load_from_hub("{REPO}")' in hub.files[REPO]["README.md"].decode()
    assert SparseCoder.load_from_hub(REPO).cfg == make_coder().cfg


@pytest.mark.parametrize("hookpoint", [None, "layers.10"])
@pytest.mark.parametrize("name", ["cfg.json", "sae.safetensors", "README.md"])
def test_what_is_there_is_replaced_only_when_asked(name, hookpoint, hub, saved):
    place = f"{hookpoint}/{name}" if hookpoint else name
    hub.files[REPO] = {place: b"theirs"}
    message = f"repo_id '{REPO}': holds {place} already; overwrite=True replaces it"
    with pytest.raises(FileExistsError, match=f"^{re.escape(message)}$"):
        push_folder(saved, REPO, hookpoint)
    assert hub.files[REPO] == {place: b"theirs"}
    push_folder(saved, REPO, hookpoint, overwrite=True)
    assert SparseCoder.load_from_hub(REPO, hookpoint).cfg == make_coder().cfg


@pytest.mark.parametrize("private", [None, True, False])
def test_a_new_repository_is_as_private_as_asked(private, hub, saved):
    push_folder(saved, REPO, private=private)
    assert hub.private[REPO] == {None: None, True: "private", False: "public"}[private]


def test_a_coder_in_memory_carries_the_card_of_its_run(hub):
    coder = make_coder("mp")
    coder.input_scale = 0.5
    coder.push_to_hub(REPO, "layers.10.mlp", run=RUN, licence="mit")
    card = hub.files[REPO]["layers.10.mlp/README.md"].decode()
    assert rows(card)["val/fvu"] == "0.3677"
    assert ModelCard(card).data.license == ModelCard(hub.files[REPO]["README.md"].decode()).data.license == "mit"
    x = torch.randn(5, 10)
    torch.testing.assert_close(SparseCoder.load_from_hub(REPO, "layers.10.mlp")(x).sae_out, coder(x).sae_out)


def test_a_folder_without_a_card_gets_one_of_its_config(hub, saved):
    (saved / "README.md").unlink()
    (saved / "notes.txt").write_text("not for others", encoding="utf-8")
    push_folder(saved, REPO)
    assert rows(hub.files[REPO]["README.md"].decode()) == rows(model_card(make_coder()))
    assert "notes.txt" not in hub.files[REPO]


def test_sparsify_reads_it_from_the_hub(hub, saved, monkeypatch):
    monkeypatch.setenv("SPARSIFY_DISABLE_TRITON", "1")
    push_folder(saved, REPO, "layers.10")
    theirs = importlib.import_module("sparsify").SparseCoder.load_from_hub(REPO, "layers.10")
    x = torch.randn(5, 10)
    torch.testing.assert_close(theirs(x).sae_out, make_coder()(x).sae_out)


# --- what can be wrong ---


def test_a_missing_hookpoint_is_answered_with_those_there_are(hub, saved):
    for hookpoint in ("layers.10", "layers.11"):
        push_folder(saved, REPO, hookpoint)
    message = f"^hookpoint None: must name a folder of {REPO}; there are layers.10, layers.11$"
    with pytest.raises(FileNotFoundError, match=message):
        SparseCoder.load_from_hub(REPO)
    weights = list(Path(constants.HF_HUB_CACHE).rglob("*.safetensors"))
    assert weights == [], "asking for a name should not download every coder"
    with pytest.raises(FileNotFoundError, match=r"layers\.12: no cfg\.json there"):
        SparseCoder.load_from_hub(REPO, "layers.12")


def test_a_repository_that_is_not_there(hub):
    with pytest.raises(FileNotFoundError, match=f"^name 'some/one': {hub.url} has no such repository that you may see"):
        SparseCoder.load_from_hub("some/one")


@pytest.mark.parametrize(("status", "kind"), [(401, PermissionError), (403, PermissionError), (400, OSError)])
def test_a_hub_that_refuses_gives_one_line(status, kind, hub, saved):
    hub.refuse = status
    with pytest.raises(kind, match=f"^repo_id '{REPO}': {hub.url} refused with status {status}, [^\n]+$") as caught:
        push_folder(saved, REPO)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert hub.files == {}


def test_a_large_file_that_is_not_taken_gives_one_line(hub, saved, monkeypatch):
    monkeypatch.setattr("huggingface_hub._commit_api.lfs_upload", lambda **_: 1 / 0)
    message = f"^repo_id '{REPO}': Error while uploading 'sae.safetensors' to the Hub. \\(division by zero\\)$"
    with pytest.raises(OSError, match=message):
        push_folder(saved, REPO)


def test_a_hub_that_cannot_be_reached_gives_one_line(nowhere, saved):
    with pytest.raises(ConnectionError, match=f"^repo_id '{REPO}': {nowhere} cannot be reached, [^\n]+$"):
        push_folder(saved, REPO)
    with pytest.raises(ConnectionError, match=f"^name '{REPO}': {nowhere} cannot be reached, [^\n]+$"):
        SparseCoder.load_from_hub(REPO)


def test_the_endpoint_is_that_of_the_environment(saved, tmp_path):
    endpoint = closed_endpoint()
    code = f"from models.formats.hub import push_folder; push_folder({str(saved)!r}, {REPO!r})"
    env = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ConnectionError: repo_id '{REPO}': {endpoint} cannot be reached, ")


@pytest.mark.parametrize("hookpoint", ["", "/layers.10", "layers.10/", "../layers.10", "a//b"])
def test_a_hookpoint_that_is_no_folder_is_refused(hookpoint, nowhere, saved):
    with pytest.raises(ValueError, match=f"^hookpoint {hookpoint!r}: must name a folder of the repository$"):
        push_folder(saved, REPO, hookpoint)


def test_a_folder_without_a_coder_is_refused(nowhere, tmp_path):
    (tmp_path / "cfg.json").write_text(json.dumps(dataclasses.asdict(make_coder().cfg)), encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r": no sae\.safetensors there, which a sparse coder consists of$"):
        push_folder(tmp_path, REPO)


def test_a_name_the_hub_does_not_allow_is_refused(nowhere, saved):
    with pytest.raises(ValueError, match="Repo id must"):
        push_folder(saved, "a/b/c")
